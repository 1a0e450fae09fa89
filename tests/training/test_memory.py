"""Memory of long runs."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc and /proc are of Linux")

_HOLES = """
import torch
from slt_pipeline.training.devices import give_back_memory, pick_device
def megabytes(): return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
pick_device("cpu")
kept = [torch.ones(1 << 16) for _ in range(1000)]
full = megabytes()
del kept[::2]
holes = megabytes()
give_back_memory()
print(full, holes, megabytes())
"""


def test_memory_between_what_is_in_use_goes_back_to_the_system():
    found = subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True).stdout
    full, holes, left = map(int, found.split())
    assert full - holes < 40  # freed memory is kept for the next step
    assert full - left > 100
