import json
import multiprocessing
import os
import random
import resource
import signal

import numpy as np
import pytest
import torch

from slt_pipeline.errors import SltError
from slt_pipeline.models.weights_file import FRAMES, write_weights
from slt_pipeline.systems.mbart_folder import write_tensors
from slt_pipeline.training.checkpoint import (
    best_checkpoint,
    list_checkpoints,
    prune,
    random_state,
    read_json,
    read_weights,
    save_checkpoint,
    seed_all,
    set_random_state,
    write_json,
)


class Tied(torch.nn.Module):
    """Two names for one parameter, and a buffer."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.out = torch.nn.Linear(3, 5, bias=False)
        self.out.weight = self.embedding.weight
        self.norm = torch.nn.BatchNorm1d(3)


def save(root, step, model=None, **meta):
    return save_checkpoint(root, step, model or Tied(), {"random": random_state()}, meta)


def steps(root):
    return [checkpoint.meta["step"] for checkpoint in list_checkpoints(root)]


def test_weights_come_back_bit_for_bit_with_buffers_and_tied_parameters(tmp_path):
    model, other = Tied(), Tied()
    model.norm.running_mean.add_(3)
    save(tmp_path, 1, model).load_model(other)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert other.out.weight is other.embedding.weight


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_every_file_has_the_mode_of_any_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        files = [*save(tmp_path, 1).folder.iterdir()]
        write_tensors(tmp_path / "model.safetensors", {"a": torch.zeros(3)})
        write_weights(tmp_path / "s3d.safetensors", {"a": torch.zeros(3)}, {}, FRAMES["glosscls"])
    finally:
        os.umask(before)
    files += [tmp_path / "model.safetensors", tmp_path / "s3d.safetensors"]
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in files} == dict.fromkeys(
        ("weights.safetensors", "state.pt", "meta.json", "model.safetensors", "s3d.safetensors"), oct(mode)
    )


def test_a_folder_without_its_finished_mark_is_no_checkpoint(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2).folder / "meta.json").unlink()
    assert steps(tmp_path) == [1]


def test_the_finished_mark_is_written_last(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda *arguments: pytest.fail("killed here"))
    with pytest.raises(pytest.fail.Exception, match="killed here"):
        save(tmp_path, 1)
    assert (tmp_path / "step-00000001" / "weights.safetensors").exists()
    assert steps(tmp_path) == []
    monkeypatch.undo()
    save(tmp_path, 1)
    assert steps(tmp_path) == [1]


def test_the_newest_checkpoint_is_the_highest_number_not_the_last_name(tmp_path):
    for step in (10_000, 9_000, 123_456_789, 99_999_999):
        save(tmp_path, step)
    assert steps(tmp_path) == [9_000, 10_000, 99_999_999, 123_456_789]
    for step in (9_000, 10_000):  # without the zeros in front, as another writer might name them
        found = tmp_path / f"step-{step:08d}"
        found.rename(tmp_path / f"step-{step}")
    assert steps(tmp_path)[:2] == [9_000, 10_000]


def test_other_folders_are_no_checkpoints(tmp_path):
    save(tmp_path, 3)
    for name in ("step-last", "step-", "old-00000009"):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "meta.json", {"step": 9})
    assert steps(tmp_path) == [3]
    assert list_checkpoints(tmp_path / "absent") == []


def test_pruning_keeps_the_best_and_the_newest_and_drops_unfinished_ones(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    (tmp_path / "step-00000004" / "meta.json").unlink()
    prune(tmp_path, keep_last=2, keep_step=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003", "step-00000005"]
    prune(tmp_path, keep_last=1, keep_step=None)
    assert steps(tmp_path) == [5]


def test_pruning_takes_the_finished_mark_away_first(tmp_path, monkeypatch):
    for step in (1, 2):
        save(tmp_path, step)
    monkeypatch.setattr("shutil.rmtree", lambda folder: pytest.fail("killed here"))
    with pytest.raises(pytest.fail.Exception, match="killed here"):
        prune(tmp_path, keep_last=1, keep_step=None)
    assert (tmp_path / "step-00000001" / "weights.safetensors").exists()
    assert steps(tmp_path) == [2]


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 7, epoch=1)
    assert save(tmp_path, 7, epoch=2).meta.items() >= {"step": 7, "epoch": 2}.items()
    assert [c.meta["epoch"] for c in list_checkpoints(tmp_path)] == [2]


def test_state_loads_without_unpickling_objects(tmp_path):
    optimiser = torch.optim.Adam(Tied().parameters())
    state = {"optimiser": optimiser.state_dict(), "random": random_state(), "position": {"step": 3, "best_score": 1.5}}
    saved = save_checkpoint(tmp_path, 3, Tied(), state, {})
    loaded = torch.load(saved.folder / "state.pt", weights_only=True)
    assert loaded["position"] == {"step": 3, "best_score": 1.5}
    assert saved.load_state().keys() == state.keys()


def draws():
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]


def test_random_generators_go_on_where_they_were_saved(tmp_path):
    seed_all(5)
    np.random.randn()  # leaves a second normal number in numpy's cache
    random.gauss(0, 1)  # and one in Python's
    saved = save(tmp_path, 1)
    expected = draws()
    assert draws() != expected
    set_random_state(saved.load_state()["random"])
    assert draws() == expected


def test_a_seed_decides_every_global_generator():
    seed_all(9)
    expected = draws()
    seed_all(9)
    assert draws() == expected


def test_weights_of_another_model_are_refused(tmp_path):
    saved = save(tmp_path, 1)
    with pytest.raises(SltError, match=r"step-00000001 does not fit the recipe's model"):
        saved.load_model(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "meta.json"])
@pytest.mark.parametrize("content", [b"", b"cut off"], ids=["empty", "short"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    saved = save(tmp_path, 1)
    (saved.folder / name).write_bytes(content)
    with pytest.raises(SltError, match=rf"step-00000001/{name} cannot be read.*delete") as refusal:
        (found,) = list_checkpoints(tmp_path)
        found.load_model(Tied())
        found.load_state()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("steps", "finished", "cure"),
    [
        ((1,), False, "delete {0} to begin anew: there is no other"),
        ((1, 2, 3), False, "delete {0} to go on from step-00000003"),
        ((1,), True, "its run is finished: put back a whole copy, or train it anew with --overwrite"),
        ((1, 2), True, "its run is finished: put back a whole copy, or train it anew with --overwrite"),
    ],
)
@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt"])
@pytest.mark.parametrize("gone", [False, True], ids=["cut", "gone"])
def test_a_damaged_checkpoint_is_told_with_a_cure_that_is_there(tmp_path, name, gone, steps, finished, cure):
    first, *_ = [save(tmp_path / "checkpoints", step) for step in steps]
    if finished:
        write_json(tmp_path / "result.json", {})
    (first.folder / name).write_bytes(b"cut off")
    if gone:
        (first.folder / name).unlink()
    with pytest.raises(SltError, match=rf"step-00000001/{name} cannot be read") as refusal:
        first.load_model(Tied())
        first.load_state()
    assert str(refusal.value).endswith(f"; {cure.format(first.folder)}")


def test_a_finished_run_whose_weights_are_gone_is_not_made_by_the_same_command(tmp_path):
    write_json(tmp_path / "result.json", {})
    write_json(tmp_path / "best.json", {"step": 1})
    with pytest.raises(SltError, match="holds a finished run whose best checkpoint is gone; put it back") as refusal:
        best_checkpoint(tmp_path, "slt visual-train", ", or set uses.encoder")
    assert "anew with `slt visual-train --overwrite` and the same recipe, or set uses.encoder" in str(refusal.value)


def test_a_state_that_would_run_code_is_refused(tmp_path):
    saved = save(tmp_path, 1)
    torch.save({"random": pytest.fail}, saved.folder / "state.pt")
    with pytest.raises(SltError, match=r"state.pt cannot be read \(it asks for .*\); delete"):
        saved.load_state()


def test_the_best_checkpoint_is_the_one_that_the_run_points_to(tmp_path):
    for step in (5, 10, 15):
        save(tmp_path / "checkpoints", step)
    write_json(tmp_path / "best.json", {"step": 10, "wer": 20.0})
    assert best_checkpoint(tmp_path, "slt visual-train").meta["step"] == 10


@pytest.mark.parametrize("pointer", [None, {"step": 4}])
def test_without_a_best_checkpoint_the_command_that_makes_it_is_named(tmp_path, pointer):
    save(tmp_path / "checkpoints", 5)
    if pointer:
        write_json(tmp_path / "best.json", pointer)
    with pytest.raises(SltError, match=r"no trained weights in .*; make them with `slt visual-train`"):
        best_checkpoint(tmp_path, "slt visual-train")


def test_weights_that_are_no_safetensors_file_are_named(tmp_path):
    for path, content in ((tmp_path / "absent", None), (tmp_path / "text", b"hello"), (tmp_path / "empty", b"")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SltError, match=rf"{path.name} is no safetensors file"):
            read_weights(path)


def test_json_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "best.json"
    write_json(path, {"step": 1})
    with pytest.raises(TypeError):
        write_json(path, {"step": object()})
    assert read_json(path) == {"step": 1}
    assert json.loads(path.read_text()) == {"step": 1}


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt"])
def test_a_full_disk_is_told_in_words_and_takes_the_half_checkpoint_away(tmp_path, name):
    """A limit on the size of files stands for the disk: it is the weights, or the state, that does not fit."""
    root = tmp_path / "checkpoints"
    kept = save(root, 1)
    size = {"weights.safetensors": 100, "state.pt": (kept.folder / "weights.safetensors").stat().st_size + 100}[name]

    def child() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            save(root, 2)
        except SltError as error:
            os._exit(0 if str(error).count("step-00000002 cannot be written") and "\n" not in str(error) else 1)
        os._exit(2)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert [folder.name for folder in root.iterdir()] == ["step-00000001"]
