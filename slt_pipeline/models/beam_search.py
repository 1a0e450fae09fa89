"""mBART's beam search, which is transformers' (FACTS 6.6)."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import MBartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from slt_pipeline.errors import SltError
from slt_pipeline.models.mbart import EOS_ID

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
    mbart: MBartForConditionalGeneration,
    states: Tensor,
    mask: Tensor,
    language_id: int,
    *,
    num_beams: int,
    max_length: int,
    length_penalty: float,
    num_return: int = 1,
    with_scores: bool = False,
) -> Generation:
    """Search from encoder states (B, S, M) with their mask (B, S); the output starts with `language_id`.

    Raises:
        SltError: more hypotheses are asked for than there are beams.
    """
    if num_return > num_beams:
        raise SltError(f"generation: {num_return} hypotheses asked for with {num_beams} beams; raise num_beams")
    model = cast(Any, mbart)  # the protocol by which transformers types `generate` fits none of its own models
    max_length = min(max_length, mbart.config.max_position_embeddings)
    ids = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        # without it transformers would put `<s>` in front of the language code
        decoder_start_token_id=language_id,
        forced_eos_token_id=EOS_ID,
        num_beams=num_beams,
        max_length=max_length,
        length_penalty=length_penalty,
        num_return_sequences=num_return,
        early_stopping=False,
        do_sample=False,
        use_cache=True,
    )
    if not with_scores:
        return Generation(ids, None)
    # The search could return them itself, but keeps for it the scores of all V pieces at every step: gigabytes.
    states, mask = (values.repeat_interleave(num_return, dim=0) for values in (states, mask))
    rows = max(1, _MOST_LOGITS // (ids.shape[1] * mbart.config.vocab_size))
    parts = []
    for row in range(0, len(ids), rows):
        part = slice(row, row + rows)
        logits = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[part]),
            attention_mask=mask[part],
            decoder_input_ids=ids[part, :-1],
            use_cache=False,
        ).logits
        parts.append(_scores(logits, ids[part], max_length))
    return Generation(ids, torch.cat(parts) / _lengths(ids) ** length_penalty)


def _scores(logits: Tensor, ids: Tensor, max_length: int) -> Tensor:
    """Return the summed log-probabilities (B,) of `ids (B, N)`, whose first is given, under logits (B, N - 1, V)."""
    pieces = ids[:, 1:, None]
    each = logits.float().log_softmax(dim=-1).gather(-1, pieces).squeeze(-1)
    steps = torch.arange(each.shape[1], device=ids.device)
    chosen = steps < _lengths(ids)[:, None]
    chosen &= steps < max_length - 2  # the last piece of a longest output is not chosen: it has to be `</s>`
    return each.masked_fill(~chosen, 0).sum(dim=1)


def _lengths(ids: Tensor) -> Tensor:
    """Return the pieces (B,) of `ids (B, N)` behind the language code, up to the first `</s>` and with it."""
    ends = ids[:, 1:] == EOS_ID
    return (ends.cumsum(dim=1) - ends.long() == 0).sum(dim=1)
