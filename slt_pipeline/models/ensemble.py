"""Several translators that write one text together: the mean of their probabilities, piece by piece."""

import math
from collections.abc import Sequence
from inspect import signature
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, LogitsProcessor, MBartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

# its name in the declared releases of transformers; the newer ones warn of the older name
_ARGUMENTS = signature(MBartForConditionalGeneration.forward).parameters
CACHE = "cache" if "cache" in _ARGUMENTS else "past_key_values"
"""Argument of mBART, and of its search, under which it is handed a `SearchCache`."""


class Member(NamedTuple):
    """What one translator knows of B sources: its mBART, states (B, S, M) with their mask (B, S).

    Sources may be of other lengths and models of other sizes, but all have one vocabulary.
    """

    mbart: MBartForConditionalGeneration
    states: Tensor
    mask: Tensor

    @property
    def encodes(self) -> bool:
        """Whether the states are an encoder's, which a text attends to; or the vectors that it stands behind."""
        return self.mbart.config.is_encoder_decoder

    @property
    def room(self) -> int:
        """Positions that are left for a text."""
        taken = 0 if self.encodes else self.states.shape[1]
        return self.mbart.config.max_position_embeddings - taken

    def repeated(self, times: int) -> "Member":
        """Return the same with every source so many times in a row."""
        return Member(self.mbart, *(each.repeat_interleave(times, dim=0) for each in (self.states, self.mask)))

    def rows(self, part: slice) -> "Member":
        """Return the same of some of the sources."""
        return Member(self.mbart, self.states[part], self.mask[part])


class SearchCache(EncoderDecoderCache):
    """Keys and values of a search by beams, which go on from each other within a source alone.

    What they know of that source is the same for all of them: it is worked out once, and stays where it is.
    """

    def __init__(self, member: Member, num_beams: int):
        """Begin a search with so many beams for each source of a member."""
        super().__init__(DynamicCache(), DynamicCache())
        if not member.encodes:
            return
        for number, layer in enumerate(cast(Any, member.mbart.get_decoder()).layers):
            attention = layer.encoder_attn
            keys, values = (
                project(member.states)
                .unflatten(-1, (-1, attention.head_dim))
                .transpose(1, 2)
                .repeat_interleave(num_beams, dim=0)
                for project in (attention.k_proj, attention.v_proj)
            )
            self.cross_attention_cache.update(keys, values, number)
            self.is_updated[number] = True

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Take for every row what another of its source has written so far."""
        self.self_attention_cache.reorder_cache(beam_idx)


def mean_log_probs(members: Sequence[Member], inputs: Tensor) -> Tensor:
    """Return the logarithms (B, N, V) of the mean probabilities behind each of `inputs (B, N)`."""
    found = [
        member.mbart(
            encoder_outputs=BaseModelOutput(last_hidden_state=member.states),  # type: ignore[arg-type]
            attention_mask=member.mask,
            decoder_input_ids=inputs,
            use_cache=False,
        )
        .logits.float()
        .log_softmax(dim=-1)
        for member in members
    ]
    return _log_mean(found)


class TogetherWith(LogitsProcessor):
    """Mixes the probabilities of other models into those of the one that searches; rules go behind it, not before.

    They keep their own caches, in step with the search: what a beam goes on from is the beam that had its pieces.
    """

    def __init__(self, others: Sequence[Member], num_beams: int):
        """Take the members beside the one that searches, and the beams that it has for each source."""
        self._others = [member.repeated(num_beams) for member in others]
        self._caches = [SearchCache(member, num_beams) for member in others]
        self._num_beams = num_beams
        self._before: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities (B * beams, V) of the piece behind `input_ids`."""
        found = [scores.float().log_softmax(dim=-1)]  # a search without beams hands over logits
        for member, cache in zip(self._others, self._caches, strict=True):
            if self._before is not None:
                cache.reorder_cache(cast(torch.LongTensor, self._parents(input_ids)))
            logits = member.mbart(
                encoder_outputs=BaseModelOutput(last_hidden_state=member.states),  # type: ignore[arg-type]
                attention_mask=member.mask,
                decoder_input_ids=input_ids[:, -1:],
                use_cache=True,
                **{CACHE: cache},
            ).logits
            found.append(logits[:, -1].float().log_softmax(dim=-1))
        self._before = input_ids
        return _log_mean(found)

    def _parents(self, input_ids: Tensor) -> Tensor:
        """Return for every row the row of the step before whose pieces it goes on from."""
        assert self._before is not None
        groups = (-1, self._num_beams)
        now = input_ids[:, :-1].unflatten(0, groups)
        before = self._before.unflatten(0, groups)
        within = (now[:, :, None] == before[:, None]).all(dim=-1).long().argmax(dim=-1)
        first = torch.arange(len(within), device=within.device)[:, None] * self._num_beams
        return (first + within).flatten()


def _log_mean(log_probs: Sequence[Tensor]) -> Tensor:
    if len(log_probs) == 1:
        return log_probs[0]
    return torch.logsumexp(torch.stack(tuple(log_probs)), dim=0) - math.log(len(log_probs))
