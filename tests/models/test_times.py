"""Times of glosses: learned from glosses alone, by steps that cannot look ahead."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.ctc import ctc_loss_per_sample
from slt_pipeline.models.learn_times import Steps, learn_times, sequence_costs
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.times import TimesHead, near_features

NUM_CLASSES, AHEAD = 7, 2


@pytest.fixture(scope="module")
def s3d() -> S3D:
    torch.manual_seed(0)
    return S3D(S3DConfig(width=0.03, freeze_blocks=0)).eval()


def _sees(features_of: Callable[[torch.Tensor], torch.Tensor], step: int, chosen: list[int]) -> bool:
    """Whether a step's features change when these of 84 frames do."""
    torch.manual_seed(1)
    frames = torch.rand(3, 84, 20, 20)
    changed = frames.clone()
    changed[:, chosen] = 20 * torch.rand(3, len(chosen), 20, 20) - 10
    return not torch.equal(features_of(changed)[step], features_of(frames)[step])


def _is_all_that_it_sees(features_of: Callable[[torch.Tensor], torch.Tensor], step: int, first: int, last: int) -> bool:
    beyond = [number for number in range(84) if not first <= number <= last]
    return not _sees(features_of, step, beyond) and all(_sees(features_of, step, [end]) for end in (first, last))


@torch.inference_mode()
def _far(s3d: S3D, frames: torch.Tensor) -> torch.Tensor:
    return s3d(frames[None], torch.tensor([frames.shape[1]]))[0][0]


def test_the_steps_of_s3d_are_centred_on_every_fourth_frame_and_see_more_than_a_second(s3d):
    assert _is_all_that_it_sees(partial(_far, s3d), 10, 4 * 10 - 31, 4 * 10 + 31)


def test_a_near_step_sees_nine_frames_around_the_same_one(s3d):
    assert _is_all_that_it_sees(partial(near_features, s3d), 10, 4 * 10 - 4, 4 * 10 + 4)


def test_there_is_a_near_step_for_every_step_however_many_frames(s3d):
    for num_frames in (4, 8, 60, 264):  # 66 windows: more than are encoded at once
        frames = torch.rand(3, num_frames, 20, 20)
        assert near_features(s3d, frames).shape == _far(s3d, frames).shape


def test_the_cost_of_a_sequence_is_ctc_s_where_scores_are_log_probabilities():
    torch.manual_seed(0)
    logits = torch.randn(3, 9, NUM_CLASSES)
    steps, labels, lengths = torch.tensor([9, 7, 5]), torch.tensor([[1, 2, 2], [3, 3, 9], [4, 9, 9]]), [3, 2, 1]
    labels = labels.clamp(max=NUM_CLASSES - 1)
    found = sequence_costs(logits.log_softmax(-1), steps, labels, torch.tensor(lengths))
    torch.testing.assert_close(found, ctc_loss_per_sample(logits, steps, labels, torch.tensor(lengths)))


def test_the_cost_of_other_scores_is_the_sum_over_all_paths_and_its_slope_is_right():
    torch.manual_seed(0)
    scores = torch.randn(1, 3, 3, dtype=torch.float64, requires_grad=True)
    paths = [(1, 2, 0), (1, 0, 2), (0, 1, 2), (1, 1, 2), (1, 2, 2)]
    of_paths = [sum(scores[0, step, label] for step, label in enumerate(path)) for path in paths]
    expected = -torch.stack([torch.as_tensor(score) for score in of_paths]).logsumexp(0)
    arguments = (torch.tensor([3]), torch.tensor([[1, 2]]), torch.tensor([2]))
    (found,) = sequence_costs(scores, *arguments)
    assert found.item() == pytest.approx(expected.item())
    torch.testing.assert_close(*(torch.autograd.grad(cost, scores)[0] for cost in (found, expected)))


def _corpus(number: int, seed: int) -> tuple[list[Steps], list[list[tuple[int, int]]]]:
    """Clips whose signs take three steps each, with one on the way between, and the true steps of each sign.

    A near step shows its own sign, or a little of both neighbours. The encoder's features show besides what comes
    two steps later: what looks ahead.
    """
    random, clips, truth = np.random.default_rng(seed), [], []
    for _ in range(number):
        glosses = [int(gloss) for gloss in random.permutation(np.arange(1, NUM_CLASSES))[: random.integers(2, 5)]]
        near, spans = [np.zeros(NUM_CLASSES)] * int(random.integers(1, 4)), []
        for gloss in glosses:
            if spans:
                near.append((near[-1] + np.eye(NUM_CLASSES)[gloss]) / 2)
            spans.append((len(near), len(near) + 3))
            near += [np.eye(NUM_CLASSES)[gloss]] * 3
        near += [np.zeros(NUM_CLASSES)] * int(random.integers(AHEAD + 1, AHEAD + 3))
        here = torch.tensor(np.array(near) + random.normal(0, 0.05, (len(near), NUM_CLASSES))).float()
        later = functional.pad(here[AHEAD:], (0, 0, 0, AHEAD))
        clips.append(Steps(here, torch.cat((here, later), dim=1), tuple(glosses)))
        truth.append(spans)
    return clips, truth


def test_glosses_fit_into_as_many_steps_and_equal_neighbours_need_one_more():
    steps = torch.zeros(3, 2)
    fit = {glosses: Steps(steps, steps, glosses).fit for glosses in ((), (1, 2, 3), (1, 1), (1, 1, 2), (1, 2, 3, 4))}
    assert fit == {(): False, (1, 2, 3): True, (1, 1): True, (1, 1, 2): False, (1, 2, 3, 4): False}


@pytest.fixture(scope="module")
def clips() -> list[Steps]:
    return _corpus(96, seed=0)[0]


def _frames(head: TimesHead, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one frames of the signs of new clips, found and true: each (signs, 2)."""
    new, truth = _corpus(12, seed)
    found = [span for clip in new for span in head.frames(clip.features, clip.gloss_ids)]
    return np.array(found), np.array([(4 * a - 1.5, 4 * b - 1.5) for spans in truth for a, b in spans])


def test_times_are_learned_though_the_features_look_ahead_and_nobody_tells_them(clips):
    found, true = _frames(learn_times(clips, NUM_CLASSES, prior=0.1, seed=0))
    assert np.median(np.abs(found - true)) == 0
    assert np.mean(np.abs(found - true)) < 2


def test_ways_between_signs_belong_to_the_signs_where_the_blank_counts_less(clips):
    lengths = []
    for prior in (0.1, 1.0):
        found, _ = _frames(learn_times(clips, NUM_CLASSES, prior=prior, seed=0))
        lengths.append((found[:, 1] - found[:, 0]).mean())
    assert lengths[1] > lengths[0] + 1


def test_the_same_seed_learns_the_same_and_leaves_the_generators_as_they_were(clips):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (learn_times(clips[:8], NUM_CLASSES, 0.1, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


class _Shown(TimesHead):
    """Features are logits."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_a_sign_that_was_not_recognised_is_part_of_none_around_it():
    shown = 8 * torch.eye(4)[[0, 1, 1, 2, 2, 3, 3, 0]]
    head = _Shown(4, 4)
    assert head.frames(shown, [1, 3]) == [(2.5, 10.5), (18.5, 26.5)]
    assert head.frames(shown, [1, 2, 3]) == [(2.5, 10.5), (10.5, 18.5), (18.5, 26.5)]


def test_a_step_that_may_show_either_is_the_sign_s_not_another_s():
    shown = torch.tensor([[0.05, 0.6, 0.35], [0.05, 0.4, 0.55]]).log()
    assert _Shown(3, 3).frames(shown, [1]) == [(0.0, 6.5)]


def test_the_first_step_begins_with_the_clip_and_others_half_way_between_middles():
    assert _Shown(2, 2).frames(torch.tensor([[0.0, 3.0], [3.0, 0.0]]), [1]) == [(0.0, 2.5)]


def test_no_gloss_has_no_times():
    assert _Shown(2, 2).frames(torch.zeros(3, 2), []) == []


def test_more_glosses_than_steps_are_refused():
    with pytest.raises(SltError, match="2 glosses need at least 3 steps but the clip has 2"):
        _Shown(2, 2).frames(torch.zeros(2, 2), [1, 1])
