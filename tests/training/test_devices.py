"""Where a run computes, and with how many threads."""

import torch

from slt_pipeline.training.devices import room_for_loaders


def test_loader_processes_are_left_their_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4), raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found = []
        for kind, workers in (("cpu", 0), ("cpu", 1), ("cpu", 2), ("cpu", 9), ("cuda", 2)):
            with room_for_loaders(torch.device(kind), workers):
                found.append(torch.get_num_threads())
        assert found == [3, 3, 2, 1, 3]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
