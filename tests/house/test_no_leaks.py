import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve()

# Places on the machine where something was written, and hosts that only its network reaches.
MACHINE_PATHS = re.compile(r"(?<![\w.\-/~])/(?:work|root|tmp/venv|opt/(?:pypi|wheels))(?![\w\-])")
REGISTRY_HOSTS = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|proxy\.golang")
SECRETS = re.compile(r"BEGIN [A-Z ]*PRIVATE KEY|\bhf_[A-Za-z0-9]{30,}|\bghp_[A-Za-z0-9]{30,}|\bAKIA[0-9A-Z]{16}\b")
WORK_NOTES = re.compile(r"\bTODO\b|\bFIXME\b|\b[Ii]ssue #?\d+\b")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Path -> content of every text file of the project."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project is not recorded here")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listing.split("\0")[:-1]]
    contents = {path: path.read_bytes() for path in paths if path != HERE and path.is_file()}
    return {
        path.relative_to(ROOT).as_posix(): content.decode("utf-8")
        for path, content in contents.items()
        if b"\0" not in content[:8192]
    }


@pytest.mark.parametrize(
    "pattern",
    [MACHINE_PATHS, REGISTRY_HOSTS, SECRETS, WORK_NOTES],
    ids=["machine paths", "registry hosts", "secrets", "work notes"],
)
def test_the_project_speaks_of_itself_alone(texts, pattern):
    assert [f"{name}: {match.group()}" for name, text in texts.items() for match in pattern.finditer(text)] == []


def test_only_tests_know_the_folder_beside_the_project(texts):
    assert [name for name, text in texts.items() if "../shared" in text and not name.startswith("tests/")] == []


@pytest.mark.parametrize(
    "line", ["cd /work/main", "'/root/.cache'", "PATH=/opt/wheels:", "see issue 12", "# TODO later"]
)
def test_a_planted_leak_is_found(line):
    assert any(pattern.search(line) for pattern in (MACHINE_PATHS, REGISTRY_HOSTS, WORK_NOTES))


@pytest.mark.parametrize(
    "line", ["frames/work/a.png", "network/root", "~/work", "/workspace", "https://example.org/root"]
)
def test_an_innocent_path_is_let_through(line):
    assert not MACHINE_PATHS.search(line)
