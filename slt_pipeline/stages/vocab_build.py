"""`slt vocab build`: the gloss classes of a corpus, or the rows of a gloss table, as a file (FACTS 1.5)."""

from pathlib import Path
from typing import Literal

from slt_pipeline.config.names import ANY_LANGUAGE
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, require_new_file
from slt_pipeline.text.gloss_vocab import GlossVocabulary

Kind = Literal["classes", "inputs"]


def vocab_build(
    manifest: Path,
    splits: tuple[str, ...],
    to: Path,
    *,
    kind: Kind = "classes",
    gloss_language: str | None = None,
    overwrite: bool = False,
) -> GlossVocabulary:
    """Write a list of names, whose places are their ids, and return it.

    Args:
        manifest: of the corpus.
        splits: whose glosses count.
        to: JSON file.
        kind: `classes` of CTC, by falling frequency; or `inputs` of a gloss table, by first appearance.
        gloss_language: a sign language, of which `inputs` get a row.
        overwrite: replace the file, if it is such a list.

    Raises:
        SltError: no clip has glosses, a split has no clips, or the language is none.
    """
    require_new_file(to, "a list of names as `slt vocab build` writes", _is_list, reads=[manifest], overwrite=overwrite)
    if gloss_language and not ANY_LANGUAGE.fullmatch(gloss_language):
        raise SltError(f"--gloss-language {gloss_language}: a sign language is written like de_DGS, en_ASL or pl_PJM")
    glosses = [clip.gloss for split in dict.fromkeys(splits) for clip in load_clips(manifest, split)]
    if not any(glosses):
        raise SltError(f"{manifest}: no clip of {', '.join(splits)} has glosses; name other splits")
    vocabulary = GlossVocabulary.build(glosses, "recognition" if kind == "classes" else "translation", gloss_language)
    vocabulary.save(to)
    return vocabulary


def _is_list(path: Path) -> bool:
    return isinstance(read_json(path), list) and len(GlossVocabulary.load(path)) > 0
