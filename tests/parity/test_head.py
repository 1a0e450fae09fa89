"""The visual head against the published one: evaluation, training with masked batch norm, gradients, labels, CTC."""

import numpy as np
import pytest
import torch
from parity_data import check_checksum
from torch.nn.utils.rnn import pad_sequence

from slt_pipeline.config.encoder import HeadConfig
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.taps import Taps
from slt_pipeline.models.visual_head import VisualHead
from slt_pipeline.models.weights import convert_head_keys
from slt_pipeline.text.gloss_vocab import GlossVocabulary


@pytest.fixture
def part(load_part):
    return load_part("head")


@pytest.fixture
def head(part) -> VisualHead:
    weights = part.json["weights"]
    drawn = part.rules.params(weights["seed"], weights["shapes"], "linear")
    for key, sums in weights["checksum"].items():
        check_checksum(drawn[key], sums, part.rules, key)
    state = convert_head_keys({key: torch.from_numpy(value) for key, value in drawn.items()})
    hidden, in_features = state["fc1.weight"].shape
    feedforward, _, kernel_size = state["feedforward.pwff_layer.0.weight"].shape
    config = HeadConfig(
        hidden=hidden,
        feedforward=feedforward,
        kernel_sizes=(kernel_size, kernel_size),
        dropout=0.0,
        padding="published",
    )
    model = VisualHead(config, in_features, len(state["gloss_output_layer.bias"]))
    model.load_state_dict(state)
    return model


def _inputs(part):
    return (torch.from_numpy(part.tensors[name]) for name in ("x", "lengths", "gloss_labels", "gls_lengths"))


def test_evaluation(part, head):
    features, lengths, gloss_labels, gloss_label_lengths = _inputs(part)
    head.eval()
    with torch.inference_mode():
        gloss_rep, gloss_logits = head(features, lengths)
        loss = ctc_loss(gloss_logits, lengths, gloss_labels, gloss_label_lengths)
    part.check("eval/gloss_feature", gloss_rep)
    part.check("eval/gloss_logits", gloss_logits)
    part.check("eval/gloss_probabilities", Taps(None, gloss_rep, gloss_logits, lengths)["gloss_probs"])
    part.check("eval/gloss_probabilities_log", gloss_logits.log_softmax(dim=-1))
    part.check("eval/input_lengths", lengths)
    part.check("eval/recognition_loss", loss)
    part.check_all_were_checked("eval/")


def test_training_uses_valid_steps_for_statistics(part, head):
    features, lengths, gloss_labels, gloss_label_lengths = _inputs(part)
    head.train()
    gloss_rep, gloss_logits = head(features, lengths)
    loss = ctc_loss(gloss_logits, lengths, gloss_labels, gloss_label_lengths)
    loss.backward()
    part.check("train/gloss_feature", gloss_rep)
    part.check("train/gloss_logits", gloss_logits)
    part.check("train/recognition_loss", loss)
    state = head.state_dict()
    gradients = {name: parameter.grad for name, parameter in head.named_parameters()}
    for output in part.outputs("train/after/"):
        part.check(output, state[output.removeprefix("train/after/visual_head.")])
    for output in part.outputs("train/grad/"):
        part.check(output, gradients[output.removeprefix("train/grad/visual_head.")])
    part.check_all_were_checked("train/")

    norms = convert_head_keys(part.json["train_grad_l2"])
    tolerance = part.json["train_grad_l2_tolerance"]
    assert norms.keys() == gradients.keys()
    for name, want in norms.items():
        assert float(gradients[name].norm()) == pytest.approx(want, rel=tolerance["rtol"], abs=tolerance["atol"]), name


def test_positions(part, head):
    want = part.tensors["pe_first_64"]
    assert head.positions is not None
    got = head.positions(torch.zeros(1, *want.shape))[0]
    # A float32 `exp` may miss the last bit of a rate (below 1), the reference's too: at position p that is p bits.
    part.check("pe_first_64", got, slack=np.arange(len(want))[:, None] * 2.0**-24)


def test_mask_is_the_first_steps(part, head):
    lengths = torch.from_numpy(part.tensors["lengths"])
    np.testing.assert_array_equal(part.tensors["mask"].sum(axis=1), lengths.numpy())


def test_gloss_labels(part):
    vocabulary = GlossVocabulary(part.json["gloss_vocabulary"])
    ids = [torch.tensor(vocabulary.encode(glosses.split())) for glosses in part.json["gloss_strings"]]
    part.check("gls_lengths", torch.tensor([len(row) for row in ids]))
    part.check("gloss_labels", pad_sequence(ids, batch_first=True, padding_value=vocabulary.pad_id))
