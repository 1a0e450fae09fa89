"""The visual head: masked statistics, positions, how far padding reaches."""

import math

import pytest
import torch
from pydantic import ValidationError

from slt_pipeline.config.encoder import HeadConfig
from slt_pipeline.models import visual_head
from slt_pipeline.models.masked_norm import MaskedBatchNorm
from slt_pipeline.models.visual_head import PositionalEncoding, VisualHead, valid_mask

SMALL = HeadConfig(hidden=8, feedforward=16, dropout=0.0)


@pytest.mark.parametrize(("num_classes", "size"), [(1094, 7_284_806), (2004, 7_751_636)])
def test_sizes_are_the_published_ones(num_classes, size):
    assert sum(p.numel() for p in VisualHead(HeadConfig(), 832, num_classes).parameters()) == size


def test_masked_norm_in_training_normalises_valid_steps_alone():
    norm = MaskedBatchNorm(2).train()
    x = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [7.0, 7.0]], [[5.0, 50.0], [9.0, 9.0], [9.0, 9.0]]])
    mask = valid_mask(torch.tensor([2, 1]), 3)
    y = norm(x, mask)

    assert torch.equal(y[~mask], x[~mask])
    step = math.sqrt(3 / 2)  # (1, 3, 5) has mean 3 and standard deviation sqrt(8/3)
    torch.testing.assert_close(y[mask][:, 0], torch.tensor([-step, 0.0, step]), atol=1e-5, rtol=0)
    torch.testing.assert_close(norm.norm.running_mean, torch.tensor([0.3, 3.0]))


def test_masked_norm_in_evaluation_normalises_every_step():
    norm = MaskedBatchNorm(2).eval()
    norm.norm.running_mean.fill_(1.0)
    norm.norm.running_var.fill_(4.0)
    y = norm(torch.full((1, 3, 2), 5.0), valid_mask(torch.tensor([1]), 3))
    torch.testing.assert_close(y, torch.full((1, 3, 2), 2.0), atol=1e-5, rtol=0)


def test_one_valid_step_has_no_spread_and_is_normalised_by_the_running_statistics():
    norm = MaskedBatchNorm(2).train()
    norm.norm.running_mean.fill_(1.0)
    norm.norm.running_var.fill_(4.0)
    y = norm(torch.full((1, 3, 2), 5.0), valid_mask(torch.tensor([1]), 3))
    torch.testing.assert_close(y[:, :1], torch.full((1, 1, 2), 2.0), atol=1e-5, rtol=0)
    assert norm.norm.running_mean.tolist() == [1.0, 1.0]  # nothing was learnt of it


@pytest.mark.parametrize("kernel_sizes", [(3, 3), (5, 3, 1)])
def test_a_clip_has_the_same_logits_alone_and_in_a_batch(kernel_sizes):
    torch.manual_seed(0)
    head = VisualHead(SMALL.model_copy(update={"kernel_sizes": kernel_sizes}), 4, 5).eval()
    features, lengths = torch.randn(3, 12, 4) * 5, [12, 7, 1]
    with torch.inference_mode():
        together = head(features, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = head(features[row : row + 1, :length], torch.tensor([length]))
            for mine, all_of_them in zip(alone, together, strict=True):
                torch.testing.assert_close(mine[0], all_of_them[row, :length])


def test_in_training_too_only_the_statistics_know_of_batch_mates():
    torch.manual_seed(0)
    head = VisualHead(SMALL, 4, 5).train()
    features, lengths = torch.randn(2, 9, 4), torch.tensor([9, 6])
    _, short = head(features, lengths)
    gradient = torch.autograd.grad(short[1, :6].square().sum(), head.fc1.weight)
    padded = torch.cat((features, torch.full((2, 5, 4), 1e3)), dim=1)  # the statistics are of valid steps alone
    padded[1, 6:9] = -1e3
    _, long = head(padded, lengths)
    torch.testing.assert_close(long[0, :9], short[0])
    torch.testing.assert_close(long[1, :6], short[1, :6])
    torch.testing.assert_close(torch.autograd.grad(long[1, :6].square().sum(), head.fc1.weight), gradient)


def test_published_padding_reaches_the_last_two_valid_steps_and_no_more():
    torch.manual_seed(0)
    head = VisualHead(SMALL.model_copy(update={"padding": "published"}), 4, 5).eval()
    features = torch.randn(1, 10, 4)
    padded = torch.cat((features, torch.zeros(1, 5, 4)), dim=1)
    with torch.inference_mode():
        alone, _ = head(features, torch.tensor([10]))
        among, _ = head(padded, torch.tensor([10]))
    differs = ((alone - among[:, :10]).abs().amax(dim=(0, 2)) > 1e-6).tolist()
    assert differs == [False] * 8 + [True] * 2


def test_positions_are_interleaved_sinusoids():
    encoded = PositionalEncoding(4)(torch.zeros(1, 8, 4))[0]
    want = [math.sin(7), math.cos(7), math.sin(7 / 100), math.cos(7 / 100)]
    torch.testing.assert_close(encoded[7], torch.tensor(want), atol=1e-6, rtol=0)


def test_clips_longer_than_the_table_are_encoded_alike():
    encoding = PositionalEncoding(4, num_positions=3)
    long = encoding(torch.zeros(1, 9, 4))
    torch.testing.assert_close(long, PositionalEncoding(4)(torch.zeros(1, 9, 4)))


def test_positions_can_be_left_out():
    head = VisualHead(SMALL.model_copy(update={"positional_encoding": False}), 4, 5).eval()
    with torch.inference_mode():
        gloss_rep, _ = head(torch.ones(1, 9, 4), torch.tensor([9]))
    torch.testing.assert_close(gloss_rep[0, 3], gloss_rep[0, 5])


def test_state_holds_no_table_of_positions():
    assert not [key for key in VisualHead(SMALL, 4, 5).state_dict() if "positions" in key]


def test_even_kernels_are_refused():
    with pytest.raises(ValidationError, match="even size 4"):
        HeadConfig(kernel_sizes=(3, 4))


def test_three_convolutions_keep_the_length():
    head = VisualHead(SMALL.model_copy(update={"kernel_sizes": (5, 3, 1)}), 4, 5).eval()
    assert head(torch.zeros(2, 7, 4), torch.tensor([7, 3]))[1].shape == (2, 7, 5)


@pytest.mark.parametrize("padding", ["published", "masked"])
def test_an_hour_of_video_in_pieces_is_what_it_is_as_a_whole(padding, monkeypatch):
    torch.manual_seed(0)
    head = VisualHead(HeadConfig(hidden=16, feedforward=32, kernel_sizes=(3, 5, 3), padding=padding), 8, 5).eval()
    features, lengths = torch.randn(2, 100, 8), torch.tensor([100, 61])
    whole = head(features, lengths)
    monkeypatch.setattr(visual_head, "PIECE", 16)
    for expected, found in zip(whole, head(features, lengths), strict=True):
        torch.testing.assert_close(found, expected)
