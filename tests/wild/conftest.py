"""What tests of the wild share."""

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def public():
    """A folder that every user may use; those of pytest are closed to all but their own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)
