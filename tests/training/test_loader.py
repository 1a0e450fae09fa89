"""What is loaded ahead, and the way that it comes."""

import pickle
import threading

import pytest
import torch
from torch.utils.data import Dataset

from slt_pipeline.training import loader
from slt_pipeline.training.loader import arrived, batch_loader, loaded_ahead, num_loaders

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Squares(Dataset):
    """Numbers squared, by whom they are asked for."""

    def __init__(self, number: int):
        self.number, self.threads = number, []

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> torch.Tensor:
        self.threads.append(threading.current_thread().name)
        if index == 7:
            raise ValueError("seven")
        return torch.tensor(index**2)


def test_items_come_in_order_and_are_made_by_others_meanwhile():
    squares = Squares(7)
    assert [int(item) for item in loaded_ahead(squares, 2, CPU)] == [number**2 for number in range(7)]
    assert all(name.startswith("loader") for name in squares.threads)


def test_no_more_is_made_ahead_than_there_are_loaders():
    squares = Squares(7)
    items = loaded_ahead(squares, 1, CPU)
    assert int(next(items)) == 0
    items.close()
    assert len(squares.threads) <= 2


def test_without_loaders_items_are_made_when_they_are_asked_for():
    squares = Squares(3)
    items = loaded_ahead(squares, 0, CPU)
    next(items)
    assert squares.threads == [threading.current_thread().name]


@pytest.mark.parametrize("number", [0, 1])
def test_what_an_item_raises_comes_where_the_item_would(number):
    items = loaded_ahead(Squares(9), number, CPU)
    assert [int(next(items)) for _ in range(7)] == [0, 1, 4, 9, 16, 25, 36]
    with pytest.raises(ValueError, match="seven"):
        next(items)


@pytest.mark.parametrize(
    ("cores", "asked", "device", "heavy", "number"),
    [
        (16, None, GPU, True, 8),
        (4, None, GPU, True, 3),
        (1, None, GPU, True, 0),
        (16, None, CPU, True, 1),
        (1, None, CPU, True, 0),
        (16, None, GPU, False, 0),
        (1, 5, CPU, False, 5),
        (16, 0, GPU, True, 0),
    ],
)
def test_loaders_are_as_many_as_help(monkeypatch, cores, asked, device, heavy, number):
    monkeypatch.setattr(loader, "num_cores", lambda: cores)
    assert num_loaders(asked, device, heavy=heavy) == number


class Batches(Dataset):
    def __getitem__(self, key: int) -> torch.Tensor:
        return torch.full((3, 2), key, dtype=torch.uint8)


def together(items: list[torch.Tensor]) -> dict:
    return {"pixels": items, "sizes": torch.tensor([len(item) for item in items]), "names": ("a", "b"), "said": "x"}


@pytest.mark.parametrize("roomy", [True, False])
def test_batches_arrive_the_same_with_and_without_shared_memory(monkeypatch, roomy):
    monkeypatch.setattr(loader, "_shared_memory", lambda: loader._ROOMY if roomy else 2**26)
    found = batch_loader(Batches(), [[1, 2], [3, 4]], together, 1, pin=False)  # type: ignore[arg-type]
    assert isinstance(found.collate_fn, loader._ByPipe) is not roomy
    for batch, keys in zip(map(arrived, found), ([1, 2], [3, 4]), strict=True):
        want = together([Batches()[key] for key in keys])
        assert batch["said"] == "x" and batch["names"] == ("a", "b") and torch.equal(batch["sizes"], want["sizes"])
        assert all(torch.equal(one, other) for one, other in zip(batch["pixels"], want["pixels"], strict=True))


def test_what_goes_through_a_pipe_names_no_place_in_shared_memory():
    packed = loader._ByPipe(together)([torch.zeros(100, dtype=torch.uint8)])
    assert len(pickle.dumps(packed)) < 1000
    state = packed.__getstate__()
    assert not any(isinstance(value, torch.Tensor) for value in (*state.values(), *state["pixels"]))
