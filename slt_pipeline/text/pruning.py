"""Which pieces of a tokenizer a corpus needs, numbered as in the published pruned models (FACTS 6.1)."""

from collections.abc import Iterable

from slt_pipeline.text.tokenizer import Tokenizer


def needed_ids(tokenizer: Tokenizer, sentences: Iterable[str]) -> list[int]:
    """Return the ids that are kept, in the order of their new ids: added tokens, then pieces by first appearance.

    Args:
        tokenizer: of the whole model, or of one that was pruned before.
        sentences: texts, and glosses as their vocabulary names them; a piece that none of them has is left out.
    """
    ids = dict.fromkeys(tokenizer.added_tokens.values())
    for sentence in sentences:
        ids |= dict.fromkeys(tokenizer.encode(sentence))
    return list(ids)
