"""Tables of gloss classes that others made, in their order: a pickle, JSON, or a glosses.json (FACTS 1.5)."""

import codecs
from pathlib import Path

from slt_pipeline.corpora.mbart_folder import read_table
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_vocab import GlossVocabulary


def read_gloss_table(path: Path) -> GlossVocabulary:
    """Read a table gloss -> class or a list of glosses; of a pickle plain data alone.

    Raises:
        SltError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    except OSError as error:
        raise SltError(f"gloss table {path} cannot be read: {error.strerror}") from error
    if path.suffix == ".json" or begins in (b"{", b"["):
        return GlossVocabulary.load(path)
    return GlossVocabulary.from_dict(read_table(path, str), f"gloss table {path}")
