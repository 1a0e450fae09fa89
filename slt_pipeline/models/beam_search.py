"""mBART's beam search, which is transformers' (FACTS 6.6), of one model or of several together."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import (
    ForcedEOSTokenLogitsProcessor,
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
)
from transformers.modeling_outputs import BaseModelOutput

from slt_pipeline.errors import SltError
from slt_pipeline.models.ensemble import CACHE, Member, SearchCache, TogetherWith, mean_log_probs
from slt_pipeline.models.mbart import EOS_ID, PAD_ID

_MOST_LOGITS = 2**26
"""Logits that are held at once where hypotheses are scored: 256 MB in float32, and as much again of their softmax."""


class Generation(NamedTuple):
    """Hypotheses, best first, `num_return` rows for each of B sources.

    `ids (B * num_return, N)` start with the language code and end in `</s>` and padding. `scores (B * num_return,)`, or
    None unless asked for, are sums of log-probabilities, divided by length ** length_penalty.
    """

    ids: Tensor
    scores: Tensor | None


@torch.no_grad()
def beam_search(
    members: Sequence[Member],
    language_id: int,
    *,
    num_beams: int,
    max_length: int,
    length_penalty: float,
    no_repeat_ngram_size: int = 0,
    num_return: int = 1,
    with_scores: bool = False,
) -> Generation:
    """Search from what each member knows of B sources; the output starts with `language_id`.

    Of several members the mean of their probabilities is searched, piece by piece.

    Raises:
        SltError: more hypotheses are asked for than there are beams.
    """
    if num_return > num_beams:
        raise SltError(f"generation: {num_return} hypotheses asked for with {num_beams} beams; raise num_beams")
    first, *others = members
    model = cast(Any, first.mbart)  # the protocol by which transformers types `generate` fits none of its own models
    max_length = min(max_length, *(member.room for member in members))
    if max_length < 2:
        raise SltError(
            f"generation: a source of {first.states.shape[1]} steps leaves no position for a text behind it; raise "
            "translator.gpt2.max_positions, or split the clip"
        )
    ids = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=first.states),
        attention_mask=first.mask,
        # without it transformers would put `<s>` in front of the language code
        decoder_start_token_id=language_id,
        num_beams=num_beams,
        max_length=max_length,
        length_penalty=length_penalty,
        num_return_sequences=num_return,
        early_stopping=False,
        do_sample=False,
        use_cache=True,
        **_rules(others, num_beams, max_length, no_repeat_ngram_size),
        **({CACHE: SearchCache(first, num_beams)} if first.encodes else {}),
    )
    if not with_scores:
        return Generation(ids, None)
    # The search could return them itself, but keeps for it the scores of all V pieces at every step: gigabytes.
    all_of = [member.repeated(num_return) for member in members]
    sums = _by_rows(all_of, ids[:, :-1], lambda log_probs, part: _scores(log_probs, ids[part], max_length))
    return Generation(ids, sums / _lengths(ids) ** length_penalty)


@torch.no_grad()
def text_log_probs(members: Sequence[Member], labels: Tensor, decoder_input_ids: Tensor) -> Tensor:
    """Return the log-probability (B,) of a text of each source, `</s>` included, by the mean of the members'.

    Args:
        members: what each knows of B sources.
        labels: of the texts, (B, N), with padding behind them.
        decoder_input_ids: what stands before each of the labels, (B, N).
    """

    def of_labels(log_probs: Tensor, part: slice) -> Tensor:
        each = log_probs.gather(-1, labels[part, :, None]).squeeze(-1)
        return each.masked_fill(labels[part] == PAD_ID, 0).sum(dim=1)

    return _by_rows(members, decoder_input_ids, of_labels)


def _rules(others: Sequence[Member], num_beams: int, max_length: int, no_repeat_ngram_size: int) -> dict[str, Any]:
    """Return the arguments of the search that say what may be written, and how sure the others are of it.

    transformers puts its own rules in front of those that it is handed. What is ruled out is taken from the mean of the
    members: taken from what the first one says alone, it would make that one surer of the rest, and the others not.
    """
    if not others:
        return {"forced_eos_token_id": EOS_ID, "no_repeat_ngram_size": no_repeat_ngram_size}
    rules: list[LogitsProcessor] = [TogetherWith(others, num_beams)]
    if no_repeat_ngram_size:
        rules.append(NoRepeatNGramLogitsProcessor(no_repeat_ngram_size))
    rules.append(ForcedEOSTokenLogitsProcessor(max_length, EOS_ID, device=str(others[0].states.device)))
    return {"forced_eos_token_id": None, "no_repeat_ngram_size": 0, "logits_processor": LogitsProcessorList(rules)}


def _by_rows(members: Sequence[Member], inputs: Tensor, of: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Return what `of` makes of the log-probabilities behind `inputs (B, N)`, a few rows at a time."""
    rows = max(1, _MOST_LOGITS // (inputs.shape[1] * members[0].mbart.config.vocab_size))
    parts = [slice(row, row + rows) for row in range(0, len(inputs), rows)]
    return torch.cat([of(mean_log_probs([m.rows(part) for m in members], inputs[part]), part) for part in parts])


def _scores(log_probs: Tensor, ids: Tensor, max_length: int) -> Tensor:
    """Return the summed log-probabilities (B,) of `ids (B, N)`, whose first is given, of `log_probs (B, N - 1, V)`."""
    each = log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)
    steps = torch.arange(each.shape[1], device=ids.device)
    chosen = steps < _lengths(ids)[:, None]
    chosen &= steps < max_length - 2  # the last piece of a longest output is not chosen: it has to be `</s>`
    return each.masked_fill(~chosen, 0).sum(dim=1)


def _lengths(ids: Tensor) -> Tensor:
    """Return the pieces (B,) of `ids (B, N)` behind the language code, up to the first `</s>` and with it."""
    ends = ids[:, 1:] == EOS_ID
    return (ends.cumsum(dim=1) - ends.long() == 0).sum(dim=1)
