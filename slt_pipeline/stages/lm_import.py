"""`slt lm import`: a published pruned mBART folder, its pickles read as plain data, as `slt lm prune` writes one."""

from pathlib import Path
from typing import Any

from slt_pipeline.corpora.mbart_folder import GLOSS_IDS_FILE, read_gloss_ids, read_tables
from slt_pipeline.systems.mbart_folder import MBartFolder, require_new_folder
from slt_pipeline.text.tokenizer import ID_MAP_FILE


def lm_import(folder: Path, to: Path, *, language: str | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Write the folder: weights as safetensors, id map and gloss ids as JSON, gloss vectors where it has them.

    Args:
        folder: the published folder, with `map_ids.pkl` or what was made of it.
        to: the folder to write.
        language: of the texts; None: de_DE.
        overwrite: replace a folder that was made by this before.

    Returns:
        what was done, as it is written beside the weights.
    """
    require_new_folder(to, folder, overwrite)
    tables = read_tables(folder)
    id_map = tables.pop(ID_MAP_FILE, None)
    mbart = MBartFolder.open(folder, language, id_map)
    tables |= read_gloss_ids(folder)
    vectors = mbart.gloss_vectors()
    account = {
        "made_by": "slt lm import",
        "source": mbart.source(),
        "language": mbart.tokenizer.language,
        "glosses": len(tables.get(GLOSS_IDS_FILE, ())),
        "gloss_vectors": len(vectors),
    }
    whole = mbart.with_ids(list(range(mbart.tokenizer.vocab_size)))
    whole.write(to, account, tables, vectors)
    return {**account, "vocab_size": mbart.tokenizer.vocab_size}
