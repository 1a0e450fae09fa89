"""CTC loss, its gradient and every decoded sequence of the reference."""

import pytest
import torch
from parity_data import case_names

from slt_pipeline.models.ctc import ctc_loss, ctc_loss_per_sample, decode


def test_loss_and_gradient(load_part):
    part = load_part("ctc")
    names = ("logits", "lengths", "gloss_labels", "gloss_lengths")
    logits, *rest = (torch.from_numpy(part.tensors[f"loss/{name}"]) for name in names)
    # The reference's gradient is taken at the log-probabilities. They are logits of themselves, and CTC's gradient sums
    # to zero in a step, so that the softmax in the loss passes it on unchanged.
    log_probs = logits.log_softmax(dim=-1).requires_grad_()
    loss = ctc_loss(log_probs, *rest)
    loss.backward()
    part.check("loss/batch", loss)
    part.check("loss/grad_log_probs", log_probs.grad)
    part.check("loss/per_sample", ctc_loss_per_sample(logits, *rest))
    part.check("loss/batch", ctc_loss(logits, *rest))
    part.check_all_were_checked("loss/")


@pytest.mark.parametrize("case", case_names("ctc"))
def test_decoded_sequences(load_part, case):
    part = load_part("ctc")
    logits = torch.from_numpy(part.tensors[f"{case}/logits"])
    if f"{case}/lengths" in part.tensors:
        lengths = torch.from_numpy(part.tensors[f"{case}/lengths"])
    else:
        lengths = torch.tensor(part.json[f"note_lengths_of_{case}"])
    decoded = part.json["cases"][case]["decoded"]
    assert decoded
    for kind, want in decoded.items():
        beam_size = 0 if kind == "greedy_plain" else int(kind.removeprefix("beam"))
        assert decode(logits, lengths, beam_size) == want, kind
