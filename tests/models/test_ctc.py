"""CTC: loss normalisation, the published decoder, greedy decoding, forced alignment."""

import itertools
import math

import numpy as np
import pytest
import torch
from ctc_decode import plain_prefix_beam_search
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_pipeline.errors import SltError
from slt_pipeline.models.ctc import (
    align,
    ctc_loss,
    ctc_loss_per_sample,
    decode,
    decode_clips,
    greedy_decode,
    infeasible,
    is_blank,
    prefix_beam_search,
)

FOUR_STEPS = torch.tensor([[0.0, 1, 2, 3], [1, 0, 0, 1], [2, 2, 0, 0], [0, 0, 0, 1]])
FIVE_STEPS = torch.tensor([[-3.0, 2, 2], [0, -1, 2], [3, 0, -2], [-2, -3, -1], [-2, 3, -3]])
FIVE_NOISY_STEPS = torch.tensor([[2.0, -1, 3, -2], [2, 1, 0, 1], [0, -1, 3, 2], [3, 2, 2, 1], [0, -2, 3, -2]])


def _labels_of(path):
    return tuple(label for label, _ in itertools.groupby(path) if label != 0)


def _all_paths(num_steps, num_classes):
    return itertools.product(range(num_classes), repeat=num_steps)


def _brute_force(logits):
    """Probability of every label sequence, summed over all paths."""
    probs = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    sums = {}
    for path in _all_paths(*logits.shape):
        labels = _labels_of(path)
        sums[labels] = sums.get(labels, 0.0) + math.prod(probs[t, k] for t, k in enumerate(path))
    return sums


@st.composite
def tiny_logits(draw, max_steps=5, max_classes=4):
    num_steps, num_classes = draw(st.integers(1, max_steps)), draw(st.integers(2, max_classes))
    seed, scale = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.3, 1.0, 3.0]))
    return (np.random.default_rng(seed).standard_normal((num_steps, num_classes)) * scale).astype(np.float32)


# Loss


def test_loss_of_the_published_example():
    loss = ctc_loss(FOUR_STEPS[None], torch.tensor([4]), torch.tensor([[3, 1]]), torch.tensor([2]))
    assert loss.item() == pytest.approx(2.0086174, abs=1e-6)


def test_sequence_that_cannot_fit_counts_zero_and_sends_no_gradient():
    logits = FOUR_STEPS[None].clone().requires_grad_()
    loss = ctc_loss(logits, torch.tensor([4]), torch.tensor([[3, 1, 1, 2]]), torch.tensor([4]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and logits.grad.abs().max().item() == 0


def test_loss_is_divided_by_the_number_of_clips_alone():
    logits = torch.stack([FOUR_STEPS, FOUR_STEPS.flip(0)])
    arguments = torch.tensor([4, 3]), torch.tensor([[3, 1], [1, 2]]), torch.tensor([2, 1])
    each = ctc_loss_per_sample(logits, *arguments)
    assert ctc_loss(logits, *arguments).item() == pytest.approx(each.sum().item() / 2, rel=1e-6)


@pytest.mark.parametrize("absent", [[], [0], [1, 2], [0, 1, 2]])
def test_a_clip_without_gloss_takes_no_part_and_one_with_an_empty_gloss_does(absent):
    logits = torch.stack([FOUR_STEPS, FOUR_STEPS.flip(0), FOUR_STEPS.roll(1, 1)]).requires_grad_()
    lengths, labels, label_lengths = (
        torch.tensor([4, 3, 4]),
        torch.tensor([[3, 1], [1, 2], [2, 2]]),
        torch.tensor([2, 1, 0]),
    )
    each = ctc_loss_per_sample(logits, lengths, labels, label_lengths)
    assert each[2].item() == pytest.approx(-FOUR_STEPS.roll(1, 1).log_softmax(-1)[:, 0].sum().item(), rel=1e-6)
    label_lengths[absent] = -1
    loss = ctc_loss(logits, lengths, labels, label_lengths)
    present = [row for row in range(3) if row not in absent]
    assert loss.item() == pytest.approx(each[present].sum().item() / max(1, len(present)), rel=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert [bool(row.any()) for row in logits.grad] == [row in present for row in range(3)]


def test_a_batch_without_any_gloss_costs_nothing_and_still_has_a_gradient():
    logits = torch.stack([FOUR_STEPS] * 2).requires_grad_()
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    loss = ctc_loss(logits, torch.tensor([4, 3]), nothing, torch.tensor([-1, -1]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()


def test_loss_ignores_what_is_beyond_the_lengths():
    logits, other = torch.stack([FOUR_STEPS] * 2), torch.stack([FOUR_STEPS] * 2)
    other[:, 3:] = 100.0
    lengths, gloss_lengths = torch.tensor([3, 3]), torch.tensor([1, 2])
    losses = [
        ctc_loss(values, lengths, ids, gloss_lengths).item()
        for values, ids in [(logits, torch.tensor([[3, 2], [3, 1]])), (other, torch.tensor([[3, 1], [3, 1]]))]
    ]
    assert losses[0] == losses[1]


def test_loss_of_half_precision_logits_is_computed_in_float32():
    loss = ctc_loss(FOUR_STEPS[None].half(), torch.tensor([4]), torch.tensor([[3, 1]]), torch.tensor([2]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(2.0086174, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(tiny_logits(), st.data())
def test_loss_is_minus_the_log_of_the_summed_paths(logits, data):
    sums = _brute_force(logits.astype(np.float64))
    labels = data.draw(st.sampled_from(sorted(sums)))
    loss = ctc_loss(
        torch.from_numpy(logits)[None],
        torch.tensor([len(logits)]),
        torch.tensor([labels], dtype=torch.long).reshape(1, -1),
        torch.tensor([len(labels)]),
    )
    assert loss.item() == pytest.approx(-math.log(sums[labels]), abs=2e-4)


# Decoding


def test_beam_search_of_the_published_examples():
    lengths = torch.tensor([5])
    assert prefix_beam_search(FIVE_STEPS[None], lengths, 5, merge_repeats=False) == [[2, 2, 1]]
    assert prefix_beam_search(FIVE_STEPS[None], lengths, 5) == [[2, 1]]
    assert prefix_beam_search(FIVE_NOISY_STEPS[None], lengths, 1, merge_repeats=False) == [[2, 2, 2]]
    assert prefix_beam_search(FIVE_NOISY_STEPS[None], lengths, 1) == [[2]]
    assert prefix_beam_search(FIVE_NOISY_STEPS[None], lengths, 5) == [[2, 3, 2]]


@settings(max_examples=40, deadline=None)
@given(tiny_logits(max_steps=4, max_classes=3))
def test_wide_beam_finds_the_most_probable_labelling(logits):
    (found,) = prefix_beam_search(torch.from_numpy(logits)[None], torch.tensor([len(logits)]), 64, merge_repeats=False)
    sums = _brute_force(logits.astype(np.float64))
    assert sums[tuple(found)] == pytest.approx(max(sums.values()), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_classes=st.integers(1, 24),
    num_steps=st.integers(1, 24),
    width=st.sampled_from([1, 2, 3, 5, 10]),
    scale=st.sampled_from([0.3, 1.0, 3.0]),
)
def test_beam_search_equals_the_algorithm_in_plain_python(seed, num_classes, num_steps, width, scale):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy((rng.standard_normal((4, num_steps, num_classes)) * scale).astype(np.float32))
    lengths = torch.from_numpy(rng.integers(0, num_steps + 1, 4))
    want = [plain_prefix_beam_search(clip[:n].tolist(), width) for clip, n in zip(logits, lengths, strict=True)]
    assert prefix_beam_search(logits, lengths, width, merge_repeats=False) == want


def test_beam_search_with_many_classes_equals_the_algorithm_in_plain_python():
    rng = np.random.default_rng(5)
    logits = torch.from_numpy(rng.standard_normal((3, 12, 900)).astype(np.float32))
    for width in (2, 10):
        want = [plain_prefix_beam_search(clip.tolist(), width) for clip in logits]
        assert prefix_beam_search(logits, torch.tensor([12, 12, 12]), width, merge_repeats=False) == want


def test_beam_search_allows_classes_that_are_masked_out():
    logits = FIVE_NOISY_STEPS[None].clone()
    logits[:, :, 2] = -torch.inf
    (found,) = prefix_beam_search(logits, torch.tensor([5]), 5)
    assert found and 2 not in found


@pytest.mark.parametrize("beam_size", [0, 1, 5])
def test_batch_of_unequal_lengths_decodes_like_each_clip_alone(beam_size):
    rng = np.random.default_rng(2)
    logits = torch.from_numpy(rng.standard_normal((6, 15, 9)).astype(np.float32))
    lengths = torch.tensor([3, 15, 0, 7, 15, 1])
    alone = [decode(clip[None, :n], torch.tensor([n]), beam_size)[0] for clip, n in zip(logits, lengths, strict=True)]
    logits[torch.arange(15) >= lengths[:, None]] = torch.nan  # nobody looks beyond a clip's length
    assert decode(logits, lengths, beam_size) == alone


@pytest.mark.parametrize("beam_size", [0, 5])
def test_clips_that_are_not_padded_decode_in_their_order(beam_size, monkeypatch):
    monkeypatch.setattr("slt_pipeline.models.ctc._CLIPS_AT_ONCE", 3)
    rng = np.random.default_rng(6)
    clips = [torch.from_numpy(rng.standard_normal((n, 7)).astype(np.float32)) for n in (5, 0, 12, 3, 12, 1, 9)]
    want = [decode(clip[None], torch.tensor([len(clip)]), beam_size)[0] for clip in clips]
    assert decode_clips(clips, beam_size) == want
    assert decode_clips([], beam_size) == []


def test_long_batches_searched_in_parts_give_the_same(monkeypatch):
    logits = torch.from_numpy(np.random.default_rng(3).standard_normal((7, 10, 8)).astype(np.float32))
    lengths = torch.tensor([10, 2, 9, 9, 0, 4, 10])
    whole = prefix_beam_search(logits, lengths, 5)
    monkeypatch.setattr("slt_pipeline.models.ctc_beam._CHUNK_VALUES", 170)
    assert prefix_beam_search(logits, lengths, 5) == whole


def test_repeat_across_a_blank_is_kept_by_greedy_and_merged_by_the_published_search():
    logits = 10 * torch.nn.functional.one_hot(torch.tensor([[4, 0, 4, 0, 5]]), 6).float()
    lengths = torch.tensor([5])
    assert decode(logits, lengths, beam_size=0) == [[4, 4, 5]]
    assert decode(logits, lengths, beam_size=5) == [[4, 5]]
    assert decode(logits, lengths, beam_size=5, merge_repeats=False) == [[4, 4, 5]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_greedy_merges_runs_and_drops_blanks(path):
    logits = torch.nn.functional.one_hot(torch.tensor([path]), 4).float()
    want = []
    for before, label in zip([0, *path], path, strict=False):
        if label != before and label != 0:
            want.append(label)
    assert greedy_decode(logits, torch.tensor([len(path)])) == [want]


def test_empty_batch_decodes_to_nothing():
    for beam_size in (0, 5):
        assert decode(torch.zeros(0, 3, 4), torch.zeros(0, dtype=torch.long), beam_size) == []
        assert decode(torch.zeros(2, 0, 4), torch.zeros(2, dtype=torch.long), beam_size) == [[], []]


def test_beam_search_refuses_nan():
    logits = torch.zeros(1, 3, 4)
    logits[0, 1, 2] = torch.nan
    with pytest.raises(SltError, match="NaN or infinity at step 1"):
        prefix_beam_search(logits, torch.tensor([3]), 5)


def test_negative_beam_is_refused():
    with pytest.raises(SltError, match="beam_size is -1"):
        decode(torch.zeros(1, 3, 4), torch.tensor([3]), -1)


def test_lengths_beyond_the_logits_are_refused():
    with pytest.raises(SltError, match="a clip has 4 steps but gloss_logits only 3"):
        decode(torch.zeros(1, 3, 4), torch.tensor([4]), 5)
    with pytest.raises(SltError, match=r"got \(1, 3, 4\) and \(2,\)"):
        decode(torch.zeros(1, 3, 4), torch.tensor([3, 3]), 0)


# Alignment


def test_alignment_finds_the_steps_of_each_gloss():
    path = [0, 2, 2, 0, 0, 3, 3, 3, 1, 0]
    logits = 5 * torch.nn.functional.one_hot(torch.tensor(path), 4).float()
    assert align(logits, [2, 3, 1]) == [(1, 3), (5, 8), (8, 9)]


def test_alignment_of_equal_neighbours_leaves_a_blank_between_them():
    logits = 5 * torch.nn.functional.one_hot(torch.tensor([2, 2, 2, 2]), 4).float()
    first, second = align(logits, [2, 2])
    assert second[0] - first[1] == 1


@settings(max_examples=40, deadline=None)
@given(tiny_logits(), st.data())
def test_alignment_is_the_best_path_of_its_labels(logits, data):
    paths = {}
    for path in _all_paths(*logits.shape):
        score = sum(float(logits[t, k]) for t, k in enumerate(path))
        labels = _labels_of(path)
        paths[labels] = max(paths.get(labels, -math.inf), score)
    labels = data.draw(st.sampled_from(sorted(paths)))
    spans = align(torch.from_numpy(logits), labels)
    path = [0] * len(logits)
    for label, (start, end) in zip(labels, spans, strict=True):
        path[start:end] = [label] * (end - start)
    assert _labels_of(path) == labels
    assert sum(float(logits[t, k]) for t, k in enumerate(path)) == pytest.approx(paths[labels], abs=1e-5)


def test_every_decoded_sequence_can_be_aligned():
    logits = torch.from_numpy(np.random.default_rng(4).standard_normal((8, 12, 6)).astype(np.float32))
    lengths = torch.arange(5, 13)
    for beam_size in (0, 1, 5):
        for clip, length, labels in zip(logits, lengths, decode(logits, lengths, beam_size), strict=True):
            spans = align(clip[:length], labels)
            assert len(spans) == len(labels)
            assert all(a < b for a, b in spans)
            assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))


def test_no_glosses_have_no_spans():
    assert align(FOUR_STEPS, []) == []


def test_sequence_that_needs_more_steps_is_refused():
    with pytest.raises(SltError, match="4 glosses need at least 5 steps but the clip has 4"):
        align(FOUR_STEPS, [3, 1, 1, 2])


def test_blank_in_a_sequence_is_refused():
    with pytest.raises(SltError, match=r"the blank \(0\) at position 1"):
        align(FOUR_STEPS, [3, 0])


def test_clips_are_counted_as_infeasible_where_the_plain_loss_is_infinite():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(1, 4, (200, 5), generator=generator)  # of three classes: many equal neighbours
    label_lengths = torch.randint(-1, 6, (200,), generator=generator)
    lengths = torch.randint(1, 9, (200,), generator=generator)
    log_probs = torch.randn(8, 200, 4, generator=generator).log_softmax(dim=-1)
    plain = torch.nn.functional.ctc_loss(
        log_probs, labels, lengths, label_lengths.clamp(min=0), reduction="none", zero_infinity=False
    )
    batch = {"gloss_labels": labels, "gloss_label_lengths": label_lengths}
    found = infeasible({**batch, "lengths": lengths})["infeasible"]
    assert found == int(plain.isinf().sum()) > 20
    assert infeasible({**batch, "frame_lengths": 4 * lengths + 3}) == {"infeasible": found}
    none = {"gloss_labels": labels[:, :0], "gloss_label_lengths": label_lengths.clamp(max=0), "lengths": lengths}
    assert infeasible(none) == {"infeasible": 0}


def test_a_clip_is_blank_if_its_best_path_names_nothing():
    assert is_blank(torch.tensor([[1.0, 0.9], [2.0, 1.0]]))
    assert not is_blank(torch.tensor([[1.0, 0.9], [1.0, 1.1]]))
