import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from import_rules import circles, imports, stale_permissions, violations

ROOT = Path(__file__).resolve().parents[2]
# Imported and not declared, with the reason.
COMES_WITH = {
    "pydantic-core": "pydantic, which names the one version that it takes",
    "pytest": "the tests of a store's backend (cache/testing), for which it is there",
}


def test_every_import_of_the_house_follows_the_direction():
    assert violations(ROOT) == []


def test_no_import_goes_in_a_circle():
    assert circles(ROOT) == []


@pytest.mark.parametrize(
    ("source", "back"),
    [
        ("from cache import writer", "from cache import store"),
        ("from cache import writer", "def f():\n    from cache.store import FeatureStore"),
        ("import cache.writer", "if TYPE_CHECKING:\n    from . import store"),
    ],
    ids=["at the top", "in a function", "for an annotation"],
)
def test_a_planted_circle_is_found(tmp_path, source, back):
    _plant(tmp_path, "cache/store.py", source)
    _plant(tmp_path, "cache/writer.py", back)
    assert circles(tmp_path) == ["cache.store -> cache.writer -> cache.store"]


def test_a_planted_circle_over_three_rooms_is_found(tmp_path):
    _plant(tmp_path, "slt_pipeline/video/reader.py", "from slt_pipeline.corpora import clip")
    _plant(tmp_path, "slt_pipeline/corpora/clip.py", "from slt_pipeline.training.loop import train")
    _plant(tmp_path, "slt_pipeline/training/loop.py", "from slt_pipeline.video.reader import open_video")
    modules = ["slt_pipeline.corpora.clip", "slt_pipeline.training.loop", "slt_pipeline.video.reader"]
    assert circles(tmp_path) == [" -> ".join([*modules, modules[0]])]


def test_every_permission_is_used():
    assert stale_permissions(ROOT) == []


def test_an_unused_permission_is_found(tmp_path):
    _plant(tmp_path, "slt_pipeline/cli/main.py", "import click\nfrom cache.errors import StoreError")
    _plant(tmp_path, "slt_pipeline/stages/extract.py", "from cache import FeatureStore")
    found = stale_permissions(tmp_path)
    assert "slt_pipeline.metrics may import sacrebleu" in found
    assert "slt_pipeline.stages.cache_care may use the store" in found
    used = {"slt_pipeline.cli may import click", "slt_pipeline.stages.extract may use the store"}
    assert used.isdisjoint(found)
    assert "slt_pipeline.cli.main may catch errors of the store" not in found


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        (
            "slt_pipeline/models/s3d.py",
            "from slt_pipeline.corpora import clip",
            "models imports slt_pipeline.corpora.clip",
        ),
        ("slt_pipeline/models/s3d.py", "from ..training.loop import run", "models imports slt_pipeline.training"),
        ("slt_pipeline/models/s3d.py", "def f():\n    import slt_pipeline.video", "models imports slt_pipeline.video"),
        (
            "slt_pipeline/training/loop.py",
            "from slt_pipeline.models import s3d",
            "training imports slt_pipeline.models.s3d",
        ),
        ("slt_pipeline/config/base.py", "import torch.nn", "config imports torch"),
        ("slt_pipeline/config/base.py", "from slt_pipeline import stages", "config imports slt_pipeline.stages"),
        ("slt_pipeline/video/reader.py", "from slt_pipeline.cli import main", "video imports slt_pipeline.cli"),
        (
            "slt_pipeline/stages/sweep.py",
            "from slt_pipeline.stages import extract",
            "a stage imports slt_pipeline.stages.extract",
        ),
        ("slt_pipeline/stages/extract.py", "from . import _shared", "a stage imports slt_pipeline.stages._shared"),
        ("slt_pipeline/stages/__init__.py", "from . import evaluate", "a stage imports slt_pipeline.stages.evaluate"),
        ("slt_pipeline/stages/sweep.py", "from cache import FeatureStore", "imports cache; the store is for"),
        ("slt_pipeline/cli/main.py", "from cache.store import FeatureStore", "imports cache.store; the store is for"),
        ("slt_pipeline/helpers/misc.py", "from slt_pipeline import errors", "helpers is no room of the house"),
        ("slt_pipeline/report/tables.py", "import click", "imports click, which is for slt_pipeline.cli"),
        ("slt_pipeline/models/s3d.py", "import tests.models", "imports tests"),
        ("cache/store.py", "from slt_pipeline.errors import SltError", "the store imports slt_pipeline.errors"),
        ("cache/store.py", "import torch", "the store imports torch"),
        ("cache/store.py", "def f():\n    import zarr", "imports zarr, which is for cache.backends.zarr"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, module, source, fault):
    _plant(tmp_path, module, source)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{module.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}: {fault}")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("slt_pipeline/stages/sweep.py", "from slt_pipeline.stages import evaluate, translate_train"),
        ("slt_pipeline/stages/demo.py", "from slt_pipeline.stages import extract, sweep"),
        ("slt_pipeline/stages/extract.py", "from cache import FeatureStore\nfrom slt_pipeline.models import s3d"),
        ("slt_pipeline/cli/main.py", "from cache.errors import StoreError\nfrom slt_pipeline.stages import sweep"),
        ("slt_pipeline/corpora/clip.py", "from slt_pipeline.video.reader import open_video"),
        ("slt_pipeline/models/s3d.py", "import torch\nfrom slt_pipeline import __version__, errors"),
        ("cache/backends/zarr.py", "import zarr\nfrom cache.store import FeatureStore"),
    ],
)
def test_a_proper_import_is_let_through(tmp_path, module, source):
    _plant(tmp_path, module, source)
    assert violations(tmp_path) == []


def test_every_package_that_is_imported_is_declared_and_every_declared_one_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    declared = {_canonical(re.split(r"[<>=\[;]", line)[0]) for line in (*project["dependencies"], *extras)}
    found = {target.split(".")[0] for targets in imports(ROOT).values() for target in targets}
    foreign = found - sys.stdlib_module_names - {"slt_pipeline", "cache"}
    homes = packages_distributions()
    assert {_canonical(homes.get(name, [name])[0]) for name in foreign} - COMES_WITH.keys() == declared


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def test_config_is_imported_without_torch():
    modules = [path.stem for path in (ROOT / "slt_pipeline" / "config").glob("*.py") if path.stem != "__init__"]
    lines = [*(f"import slt_pipeline.config.{module}" for module in modules), "import sys"]
    lines += ["assert not {'torch', 'torchvision', 'transformers', 'zarr', 'h5py'} & set(sys.modules)"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, env=environment, timeout=60)


def _plant(root: Path, module: str, source: str) -> None:
    """A small house below `root` with one file of the test's own."""
    for name in (
        "slt_pipeline/__init__.py",
        "slt_pipeline/errors.py",
        "slt_pipeline/cli/main.py",
        "slt_pipeline/corpora/clip.py",
        "slt_pipeline/models/s3d.py",
        "slt_pipeline/stages/__init__.py",
        *(
            f"slt_pipeline/stages/{stage}.py"
            for stage in ("_shared", "evaluate", "extract", "sweep", "translate_train")
        ),
        "slt_pipeline/training/loop.py",
        "slt_pipeline/video/reader.py",
        "cache/__init__.py",
        "cache/store.py",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    path = root / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
