"""Which pieces of a tokenizer a corpus needs, numbered as in the published pruned models (FACTS 6.1)."""

from collections.abc import Iterable, Sequence

from slt_pipeline.text.tokenizer import Tokenizer
from slt_pipeline.text.tokenizer_json import of_merges


def needed_ids(tokenizer: Tokenizer, encoded: Iterable[Sequence[int]]) -> list[int]:
    """Return the ids that are kept, in the order of their new ids: added tokens, then pieces by first appearance.

    Of a model of merges then what becomes these pieces, without which other programs could not merge them.

    Args:
        tokenizer: of the whole model, or of one that was pruned before.
        encoded: by it, texts, and glosses as their vocabulary names them; a piece that none of them has is left out.
    """
    ids = dict.fromkeys(tokenizer.added_tokens.values())
    for sentence in encoded:
        ids |= dict.fromkeys(sentence)
    if of_merges(tokenizer):
        for number in list(ids.keys() - tokenizer.added_tokens.values()):
            ids |= dict.fromkeys(tokenizer.made_of(number))
    return list(ids)
