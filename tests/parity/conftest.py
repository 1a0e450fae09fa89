"""Fixtures of the parity tests. `from parity_data import case_names` works in every test file of this folder."""

from collections.abc import Callable
from pathlib import Path

import parity_data
import pytest


@pytest.fixture
def parity_dir() -> Path:
    """The folder of golden numbers; skips the test where there is none."""
    return parity_data.parity_dir()


@pytest.fixture
def load_part() -> Callable[[str], parity_data.Part]:
    """`load_part("s3d")` gives a fresh `Part` (tensors, json, check), its files verified against the manifest."""
    return parity_data.Part


@pytest.fixture
def parity_json() -> Callable[[str], object]:
    """`parity_json("metrics.json")` or `("gloss_cleanup.jsonl")`: content of a verified file."""
    return parity_data.parity_json
