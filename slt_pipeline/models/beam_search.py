"""mBART's beam search (FACTS 6.6).  B sentences, T source steps, M = mBART's width, N target positions."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import MBartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from slt_pipeline.errors import SltError
from slt_pipeline.models.mbart import EOS_ID, PAD_ID


class Generation(NamedTuple):
    """Hypotheses, best first, `num_return` rows a sentence: `ids (B * num_return, N)` and `scores (B * num_return,)`.

    `ids` start with the language code and end in `</s>` and padding; a score is the sum of log-probabilities, divided
    by length ** length_penalty.
    """

    ids: Tensor
    scores: Tensor


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
) -> Generation:
    """Search from encoder states (B, T, M) with their mask (B, T); the output starts with `language_id`.

    Raises:
        SltError: more hypotheses are asked for than there are beams.
    """
    if num_return > num_beams:
        raise SltError(f"generation: {num_return} hypotheses asked for with {num_beams} beams; raise num_beams")
    model = cast(Any, mbart)  # the protocol by which transformers types `generate` fits none of its own models
    found = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        # without it transformers would put `<s>` in front of the language code
        decoder_start_token_id=language_id,
        forced_eos_token_id=EOS_ID,
        num_beams=num_beams,
        max_length=min(max_length, mbart.config.max_position_embeddings),
        length_penalty=length_penalty,
        num_return_sequences=num_return,
        early_stopping=False,
        do_sample=False,
        use_cache=True,
        return_dict_in_generate=True,
        output_scores=True,
    )
    if num_beams > 1:
        return Generation(found.sequences, found.sequences_scores)
    steps = model.compute_transition_scores(found.sequences, found.scores, normalize_logits=True)
    real = found.sequences[:, 1:] != PAD_ID
    return Generation(found.sequences, steps.masked_fill(~real, 0).sum(1) / real.sum(1) ** length_penalty)
