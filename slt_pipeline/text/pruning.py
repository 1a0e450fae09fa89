"""Which pieces of a tokenizer a corpus needs, numbered as in the published pruned models (FACTS 6.1)."""

from collections.abc import Iterable, Sequence

from slt_pipeline.text.tokenizer import Tokenizer


def needed_ids(tokenizer: Tokenizer, encoded: Iterable[Sequence[int]]) -> list[int]:
    """Return the ids that are kept, in the order of their new ids: added tokens, then pieces by first appearance.

    Args:
        tokenizer: of the whole model, or of one that was pruned before.
        encoded: by it, texts, and glosses as their vocabulary names them; a piece that none of them has is left out.
    """
    ids = dict.fromkeys(tokenizer.added_tokens.values())
    for sentence in encoded:
        ids |= dict.fromkeys(sentence)
    return list(ids)
