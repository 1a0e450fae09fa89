import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["package", "module", "folder without code"])
def test_a_strangers_cache_in_front_is_named(tmp_path, kind):
    if kind == "module":
        (tmp_path / "cache.py").write_text("data = {}\n")
    else:
        (tmp_path / "cache").mkdir()
    if kind == "package":
        (tmp_path / "cache" / "__init__.py").write_text("data = {}\n")
    # A folder without code hides nothing while the real package is on the path: only that folder is on it then, and
    # -S keeps installed packages off.
    path = [tmp_path, ROOT]
    if kind == "folder without code":
        (tmp_path / "slt_pipeline").symlink_to(ROOT / "slt_pipeline")
        path = [tmp_path]
    result = _python("import slt_pipeline", path, "-S")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(tmp_path / "cache") in last


def test_the_store_of_the_project_passes_the_guard():
    assert _python("import slt_pipeline", [ROOT]).returncode == 0


def test_importing_the_store_needs_numpy_only(tmp_path):
    (tmp_path / "cache").symlink_to(ROOT / "cache")
    code = """
import sys
before = set(sys.modules)
import cache
new = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(new))
"""
    result = _python(code, [tmp_path])
    assert result.returncode == 0, result.stderr
    assert "cache" in result.stdout.split()
    assert set(result.stdout.split()) <= {"cache", "numpy", "_distutils_hack"}


def _python(code: str, path: list[Path], *flags: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that finds `path` before everything installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    # -P: the working folder, which holds the real packages, stays off the path.
    command = [sys.executable, "-P", *flags, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
