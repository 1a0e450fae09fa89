"""The vocabularies of a translator: ids travel with what gave them their meaning, and are compared by content."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slt_pipeline.config.corpus import CorpusConfig
from slt_pipeline.config.provenance import require_made_with
from slt_pipeline.config.runs import GLOSS_INPUTS_FILE
from slt_pipeline.config.text import Order, TextConfig
from slt_pipeline.config.translator import Direction, GlossForm
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.gloss_text import in_direction
from slt_pipeline.corpora.labels import GlossInputs, GlossPieces, GlossReader
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.files import file_hash, kept, read_json, write_json
from slt_pipeline.systems.recogniser import CLASSES_FILE
from slt_pipeline.text.gloss_vocab import GlossVocabulary, gloss_name
from slt_pipeline.text.tokenizer import ID_MAP_FILE, META_FILE, TOKENIZER_FILES, Tokenizer, model_files
from slt_pipeline.text.train_tokenizer import train_tokenizer

TOKENIZER_FOLDER = "tokenizer"
DIGESTS_FILE = "vocabularies.json"
_FILES = (
    *(f"{TOKENIZER_FOLDER}/{name}" for name in TOKENIZER_FILES),
    *(GLOSS_INPUTS_FILE, CLASSES_FILE, DIGESTS_FILE),
)


@dataclass(frozen=True)
class Vocabularies:
    """What a translator's ids mean."""

    text: Tokenizer
    """Pieces of the spoken language: rows of the text embedding."""
    glosses: GlossVocabulary
    """Rows of the gloss table."""
    classes: GlossVocabulary | None = None
    """Gloss classes of the recogniser before it; None: Gloss2Text."""

    @classmethod
    @kept(
        lambda _, corpus, text, gloss_input="vectors", direction="gloss2text": [
            Path(corpus.manifest),
            *_tokenizer_paths(text),
        ],
        most=4,
    )
    def build(
        cls,
        corpus: CorpusConfig,
        text: TextConfig,
        gloss_input: GlossForm = "vectors",
        direction: Direction = "gloss2text",
    ) -> "Vocabularies":
        """Read the tokenizer or train it on the training texts, and collect the glosses of `text.gloss_splits`.

        The same manifest gives the same vocabularies.

        Args:
            corpus: names the manifest.
            text: names the tokenizer, or says how one is trained.
            gloss_input: how glosses are read; as `pieces`, a tokenizer is trained on them as on texts.
            direction: for `text2gloss` the words of texts are read, and glosses written.
        """
        clips = in_direction(load_clips(corpus.manifest, "train", needs=["text"]), direction)
        tokenizer = build_tokenizer(text, training_sentences(clips, gloss_input))
        read = (in_direction(load_clips(corpus.manifest, split), direction) for split in text.gloss_splits)
        signed = (clip.gloss for clips in read for clip in clips)
        return cls(tokenizer, GlossVocabulary.build(signed, layout="translation", language=text.gloss_language))

    def gloss_reader(self, form: GlossForm) -> GlossReader:
        """Return what makes glosses what Gloss2Text reads, of the form that `translator.gloss_input` names."""
        return GlossPieces(self.text) if form == "pieces" else GlossInputs(self.glosses)

    def with_classes(self, classes: GlossVocabulary) -> "Vocabularies":
        """Return the same with the classes of a recogniser."""
        return replace(self, classes=classes)

    def in_order(self, order: Order) -> "Vocabularies":
        """Return the same with texts that are written in this order."""
        return replace(self, text=self.text.in_order(order))

    def save(self, folder: Path) -> None:
        """Write all of them beside a model's checkpoints."""
        self.text.save(folder / TOKENIZER_FOLDER)
        self.glosses.save(folder / GLOSS_INPUTS_FILE)
        if self.classes is not None:
            self.classes.save(folder / CLASSES_FILE)
        write_json(folder / DIGESTS_FILE, self.digests())

    @classmethod
    @kept(lambda _, folder: [folder / name for name in _FILES], most=4)
    def load(cls, folder: Path) -> "Vocabularies":
        """Read what `save` wrote.

        Raises:
            SltError: a file is missing or was changed since: the weights beside it mean nothing with other ids.
        """
        classes = folder / CLASSES_FILE
        found = cls(
            Tokenizer.load(folder / TOKENIZER_FOLDER),
            GlossVocabulary.load(folder / GLOSS_INPUTS_FILE),
            GlossVocabulary.load(classes) if classes.is_file() else None,
        )
        if (folder / DIGESTS_FILE).is_file():  # runs of the first edition have none
            cure = "put back the files that the run wrote, or train anew with --overwrite"
            require_made_with(read_json(folder / DIGESTS_FILE, dict), found.digests(), f"the model in {folder}", cure)
        return found

    def digests(self) -> dict[str, str | None]:
        """Hash of the content of each, for a run's inputs."""
        return {
            "pieces": self.text.digest(),
            "gloss_inputs": self.glosses.digest(),
            "classes": self.classes.digest() if self.classes else None,
        }


def training_sentences(clips: Iterable[Clip], gloss_input: GlossForm) -> list[str]:
    """Return what a tokenizer is trained on: the texts of clips, and as `pieces` their glosses, as they are read."""
    clips = list(clips)
    signed = clips if gloss_input == "pieces" else []
    return [clip.text or "" for clip in clips] + [" ".join(map(gloss_name, clip.gloss or ())) for clip in signed]


def build_tokenizer(text: TextConfig, training_texts: Iterable[str]) -> Tokenizer:
    """Read the tokenizer that a recipe names, or train it; the same texts give the same."""
    if text.tokenizer:
        return Tokenizer.load(text.tokenizer, text.language, detokenise=text.detokenise, order=text.order)
    return train_tokenizer(
        training_texts,
        vocab_size=text.vocab_size,
        language=text.language,
        detokenise=text.detokenise,
        order=text.order,
    )


def _tokenizer_paths(text: TextConfig) -> list[Path]:
    """What a given tokenizer is read from."""
    return [text.tokenizer / name for name in (".", *TOKENIZER_FILES)] if text.tokenizer else []


def tokenizer_files(text: TextConfig) -> dict[str, Any]:
    """Hashes of the files that a given tokenizer is read from; None where it is trained."""
    if text.tokenizer is None:
        return {"tokenizer": None}
    first, *rest = model_files(text.tokenizer)
    names = (ID_MAP_FILE, META_FILE, *(path.name for path in rest))
    beside = {name.replace(".", "_"): text.tokenizer / name for name in names}
    return {
        "tokenizer": file_hash(first),
        "tokenizer_files": {name: file_hash(path) if path.is_file() else None for name, path in beside.items()},
    }
