"""What every test can count on: no network, the CPU, and one thread a worker."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("SLT_TEST_CUDA", "")  # expected numbers are those of the CPU
os.environ.pop("SLT_RECIPE", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, after this file

settings.register_profile("the same each time", derandomize=True, print_blob=True)
settings.load_profile("the same each time")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real annotations and clips; a test that needs it is skipped where it is absent."""
    named = os.environ.get("SLT_TEST_DATA")
    folder = Path(named) if named else TESTS.parents[1] / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail(f"SLT_TEST_DATA={named} is not a folder")
        pytest.skip("no real annotations: ../shared/data is absent and SLT_TEST_DATA is not set")
    return folder


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """A command run in this process sets up logging for itself; what a later test captures does not depend on it."""
    yield
    logging.disable(logging.NOTSET)
    logger = logging.getLogger("slt_pipeline")
    logger.handlers[:], logger.propagate = [], True
    logger.setLevel(logging.NOTSET)
