"""Memory of long runs."""

import subprocess
import sys
from functools import partial

import pytest
from toy_run import toy_train

from slt_pipeline.training import devices, loop

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc and /proc are of Linux")

_HOLES = """
import torch
from slt_pipeline.training.devices import FreeMemory, pick_device
def megabytes(): return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
pick_device("cpu")
kept = [torch.ones(1 << 16) for _ in range(1000)]
full = megabytes()
del kept[::2]
holes = megabytes()
FreeMemory(every=0).give_back()
print(full, holes, megabytes())
"""


def test_memory_between_what_is_in_use_goes_back_to_the_system():
    found = subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True).stdout
    full, holes, left = map(int, found.split())
    assert full - holes < 40  # freed memory is kept for the next step
    assert full - left > 100


@pytest.mark.parametrize(("every", "times"), [(0.0, 5), (3600.0, 0)])
def test_within_a_long_epoch_too(every, times, tmp_path, monkeypatch):
    given_back = []
    monkeypatch.setattr(devices, "_of_glibc", lambda name: given_back.append if name == "malloc_trim" else None)
    monkeypatch.setattr(loop, "FreeMemory", partial(devices.FreeMemory, every=every))
    toy_train(tmp_path, epochs=1)
    assert len(given_back) == times
