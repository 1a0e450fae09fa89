"""`slt lm gloss-embed`: a vector for each gloss of a vocabulary, the mean of its pieces (FACTS 6.1)."""

from pathlib import Path

from slt_pipeline.config.names import ANY_LANGUAGE
from slt_pipeline.corpora.gloss_tables import read_gloss_table
from slt_pipeline.files import require_new_file
from slt_pipeline.models.gloss_table import gloss_vectors
from slt_pipeline.models.mbart_files import shared_embedding
from slt_pipeline.systems.mbart_folder import MBartFolder, files_of, write_tensors
from slt_pipeline.text.gloss_vocab import gloss_name
from slt_pipeline.training.checkpoint import read_weights


def lm_gloss_embed(
    folder: Path, vocabulary: Path, to: Path, *, language: str | None = None, overwrite: bool = False
) -> dict[str, int]:
    """Write unscaled vectors (M,) by name, as published: of glosses, special tokens, and spoken and signed languages.

    Args:
        folder: an mBART folder, whole or pruned.
        vocabulary: names in small letters; a list or table as JSON, or a published pickle.
        to: safetensors file.
        language: of the texts; None: as the folder says, else de_DE.
        overwrite: replace the file, if it holds such vectors.

    Returns:
        counts: vectors, names that have no piece, and glosses of whose pieces one is `<unk>`.
    """
    reads = [vocabulary, *files_of(folder)]
    require_new_file(to, "a file of vectors by name", _holds_vectors, reads=reads, overwrite=overwrite)
    names = list(dict.fromkeys(map(_as_looked_up, read_gloss_table(vocabulary).names)))
    mbart = MBartFolder.open(folder, language)
    pieces = {name: mbart.tokenizer.gloss_pieces(name) for name in names}
    known = [name for name in names if pieces[name]]
    rows = gloss_vectors(known, shared_embedding(dict(mbart.state), str(folder)).float(), pieces.__getitem__)
    write_tensors(to, {name: row.clone() for name, row in zip(known, rows, strict=True)})
    unknown = [name for name in known if mbart.tokenizer.unk_id in pieces[name] and name != "<unk>"]
    return {"vectors": len(known), "without": len(names) - len(known), "unknown": len(unknown)}


def _as_looked_up(name: str) -> str:
    """Return a name as a gloss table asks for its vector: a gloss in small letters, the code of a language as it is."""
    return name if ANY_LANGUAGE.fullmatch(name) else gloss_name(name)


def _holds_vectors(path: Path) -> bool:
    return all(tensor.ndim == 1 for tensor in read_weights(path).values())
