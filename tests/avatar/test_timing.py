"""When glosses are signed, from frame labels."""

import pytest

from slt_pipeline.avatar.timing import Run, aligned_spans, find_runs, learn_models, uniform_spans
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.phoenix14t import import_phoenix14t

pytestmark = pytest.mark.long


def _states(model: int, *lengths: int) -> list[int]:
    return [3 * model + 1 + state for state, length in enumerate(lengths) for _ in range(length)]


def _clip(gloss: str, states: list[int], name: str = "a") -> Clip:
    return Clip(name, "x", len(states), 25.0, "s", tuple(gloss.split()), None, "train", {"pami0": tuple(states)})


KNOWN = {4: "REGEN", 7: "NORD", 9: "WIND"}


def test_a_run_covers_the_three_states_of_one_model():
    assert find_runs([0, *_states(4, 2, 1, 2), 0, 0, *_states(7, 1, 1, 1)]) == [Run(4, 1, 6), Run(7, 8, 11)]


def test_the_same_model_twice_in_a_row_is_two_runs():
    assert find_runs([*_states(4, 1, 1, 2), *_states(4, 2, 1, 1)]) == [Run(4, 0, 4), Run(4, 4, 8)]


def test_models_are_learnt_where_runs_and_glosses_pair_up():
    clips = [
        _clip("REGEN NORD", [*_states(4, 1, 1, 1), *_states(7, 1, 1, 1)], "a"),
        _clip("WIND", [*_states(9, 2, 2, 2), *_states(8, 2, 2, 2)], "b"),
    ]
    assert learn_models(clips) == {4: "REGEN", 7: "NORD"}


def test_a_gloss_may_take_several_runs():
    states = [*_states(4, 2, 2, 2), *_states(4, 1, 1, 1), *_states(7, 1, 1, 1)]
    assert aligned_spans(_clip("REGEN NORD", states), KNOWN) == (((0, 9), (9, 12)), 2)


def test_an_unknown_model_goes_to_the_unknown_gloss():
    states = [*_states(4, 2, 2, 2), *_states(50, 1, 1, 1), *_states(51, 1, 1, 1), *_states(7, 1, 1, 1)]
    assert aligned_spans(_clip("REGEN SCHNEE NORD", states), KNOWN) == (((0, 6), (6, 12), (12, 15)), 3)


def test_a_gloss_without_labels_gets_the_silence_around_it():
    states = [*_states(4, 2, 2, 2), *[0] * 8, *_states(7, 1, 1, 1)]
    assert aligned_spans(_clip("REGEN SCHNEE NORD", states), KNOWN) == (((0, 6), (6, 14), (14, 17)), 2)


def test_a_gloss_without_labels_or_silence_gets_half_of_the_longer_neighbour():
    states = [*_states(4, 4, 4, 4), *_states(7, 1, 1, 1)]
    assert aligned_spans(_clip("REGEN SCHNEE NORD", states), KNOWN) == (((0, 6), (6, 12), (12, 15)), 2)


def test_labels_that_contradict_the_glosses_are_not_used():
    assert aligned_spans(_clip("REGEN NORD", [*_states(9, 1, 1, 1), *_states(9, 1, 1, 1)]), KNOWN) is None
    assert aligned_spans(_clip("REGEN NORD", [0] * 9), KNOWN) is None


def test_uniform_spans_share_the_clip():
    assert uniform_spans(40, 3) == ((2, 14), (14, 26), (26, 38))


@pytest.fixture(scope="module")
def phoenix(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("phoenix")
    import_phoenix14t(shared_data / "phoenix-2014t", folder / "manifest.jsonl", variant="plain")
    return read_manifest(folder / "manifest.jsonl")


def test_phoenix_labels_name_glosses_without_exception(phoenix):
    """On the clips where runs and glosses pair up, each model stands for one gloss."""
    glosses = {}
    num_clips = 0
    for clip in phoenix:
        runs = find_runs(clip.alignments["pami0"])
        if clip.split == "train" and len(runs) == len(clip.gloss):
            num_clips += 1
            for run, gloss in zip(runs, clip.gloss, strict=True):
                glosses.setdefault(run.model, set()).add(gloss)
    assert num_clips == 2006
    assert all(len(found) == 1 for found in glosses.values())


def test_nearly_all_of_phoenix_gets_its_own_timing(phoenix):
    models = learn_models(clip for clip in phoenix if clip.split == "train")
    told = {"train": 0, "dev": 0, "test": 0}
    for clip in phoenix[::7]:
        found = aligned_spans(clip, models)
        if found is None:
            continue
        told[clip.split] += 1
        edges = [edge for span in found[0] for edge in span]
        assert len(found[0]) == len(clip.gloss)
        assert edges == sorted(edges)
        assert 0 <= edges[0] < edges[-1] <= clip.num_frames
    assert told["train"] >= 0.98 * 7096 / 7
    assert told["dev"] >= 0.95 * 519 / 7
    assert told["test"] >= 0.9 * 642 / 7
