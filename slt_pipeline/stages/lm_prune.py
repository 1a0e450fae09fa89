"""`slt lm prune`: an mBART with the pieces of a corpus alone, as a folder of its own."""

from pathlib import Path
from typing import Any

from slt_pipeline.corpora.mbart_folder import read_gloss_ids
from slt_pipeline.files import file_hash
from slt_pipeline.systems.mbart_folder import MBartFolder, corpus_sentences, require_new_folder
from slt_pipeline.text.pruning import needed_ids


def lm_prune(
    folder: Path,
    manifest: Path,
    to: Path,
    *,
    splits: tuple[str, ...] = ("train",),
    language: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the pruned folder; its logits are those of the whole model at the pieces that are kept.

    Args:
        folder: a Hugging Face mBART folder, whole or pruned before.
        manifest: of the corpus, whose texts and glosses are kept.
        to: the folder to write.
        splits: which clips count, in the order of the new ids.
        language: of the texts; None: as the folder says, else de_DE.
        overwrite: replace a folder that was made by this before.

    Returns:
        what was done, as it is written beside the weights; the texts and glosses of whose pieces one is `<unk>`; and
        whether there is a `tokenizer.json`.
    """
    require_new_folder(to, folder, overwrite)
    sentences, counts = corpus_sentences(manifest, splits)
    whole = MBartFolder.open(folder, language)
    encoded = [whole.tokenizer.encode(sentence) for sentence in sentences]
    pruned, vectors = whole.with_ids(needed_ids(whole.tokenizer, encoded)), whole.gloss_vectors()
    account = {
        "made_by": "slt lm prune",
        "source": whole.source(),
        "corpus": file_hash(manifest),
        "splits": list(splits),
        **counts,
        "language": pruned.tokenizer.language,
        "vocab_size_before": whole.tokenizer.vocab_size,
        "gloss_vectors": len(vectors),
    }
    pruned.write(to, account, read_gloss_ids(folder), vectors)
    unknown = sum(whole.tokenizer.unk_id in sentence for sentence in encoded)
    told = {"vocab_size": pruned.tokenizer.vocab_size, "unknown": unknown}
    return {**account, **told, "tokenizer_json": (to / "tokenizer.json").is_file()}
