import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("slt_pipeline", "cache", "recipes")
TOP_LEVEL = {*PACKAGES, "tests", "pyproject.toml", "README.md"}
DEMANDED_BY_TOOLS = {"Makefile", ".ci", "LICENSE", ".gitignore", ".pre-commit-config.yaml"}
MOST_LINES = 400
MAY_PICKLE = {
    "slt_pipeline/corpora/pickles.py",  # the unpickler that refuses whatever is not plain data
    "cache/testing/contract.py",  # an open store travels to worker processes
}


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project is not recorded here")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return listing.split("\0")[:-1]


def test_the_top_level_holds_the_house_and_what_tools_demand(tracked):
    assert {path.split("/")[0] for path in tracked} - TOP_LEVEL - DEMANDED_BY_TOOLS == set()


def test_recipes_are_data(tracked):
    files = [path for path in tracked if path.startswith("recipes/")]
    assert [path for path in files if not path.endswith((".yaml", "README.md")) and path != "recipes/__init__.py"] == []


def test_nothing_made_by_a_run_is_tracked(tracked):
    assert [
        path for path in tracked if path.startswith("runs/") or path.endswith((".pyc", ".mp4", ".safetensors"))
    ] == []


def test_no_test_folder_is_a_package_or_carries_the_name_of_one():
    folders = [path for path in (ROOT / "tests").rglob("*") if path.is_dir() and path.name != "__pycache__"]
    assert [folder for folder in folders if folder.name in PACKAGES] == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_helper_modules_of_tests_have_names_of_their_own(pytestconfig):
    folders = [folder for folder in map(Path, pytestconfig.getini("pythonpath")) if folder != ROOT]
    assert folders != []
    helpers = [path for folder in folders for path in folder.glob("*.py")]
    names = [path.stem for path in helpers if not path.stem.startswith("test_") and path.stem != "conftest"]
    doubled = {name for name in names if names.count(name) > 1}
    assert doubled | (set(names) & {*sys.stdlib_module_names, *PACKAGES}) == set()
    changing = [path for path in (ROOT / "tests").rglob("*.py") if _changes_the_path(path)]
    assert changing == []


def test_no_file_is_longer_than_the_ceiling():
    long = {
        path.relative_to(ROOT).as_posix(): count for path in _python_files() if (count := _num_lines(path)) > MOST_LINES
    }
    assert long == {}


def test_nothing_from_disk_is_unpickled_outside_the_importers():
    faults = []
    for path in _python_files(PACKAGES):
        where = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            faults += (
                [f"{where}:{node.lineno}: {fault}" for fault in _unsafe(node, where)] if hasattr(node, "lineno") else []
            )
    assert faults == []


def test_every_permission_to_pickle_is_used():
    assert [name for name in MAY_PICKLE if "import pickle" not in (ROOT / name).read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=flag)",
    ],
)
def test_an_unsafe_load_is_found(source):
    nodes = ast.walk(ast.parse(source))
    assert [fault for node in nodes for fault in _unsafe(node, "slt_pipeline/models/weights.py")] != []


def _python_files(folders: tuple[str, ...] = (*PACKAGES, "tests")) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def _changes_the_path(path: Path) -> bool:
    """Say whether a file changes where modules are found; pytest's `pythonpath` is the one place for that."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    calls = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
    return any(call.startswith("sys.path.") for call in calls)


def _num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _unsafe(node: ast.AST, where: str) -> list[str]:
    """Ways to run a stranger's code while reading a stranger's file."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} <= {"UnpicklingError"}:
            return []  # catching the error of a refused file loads nothing
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        picklers = [name for name in names if name in ("pickle", "dill", "shelve", "marshal")]
        return [] if where in MAY_PICKLE else [f"imports {name}" for name in picklers]
    if not (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    ):
        return []
    called = f"{node.func.value.id}.{node.func.attr}"
    given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
    if called == "torch.load" and given.get("weights_only") is not True:
        return ["torch.load without weights_only=True"]
    if called in ("np.load", "numpy.load") and given.get("allow_pickle", False) is not False:
        return ["numpy.load with pickles allowed"]
    return [f"{called}; take yaml.safe_load"] if called in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") else []


def test_a_stage_tells_its_story_in_under_sixty_lines():
    long = {
        f"{path.name}: {node.name}": lines
        for path in (ROOT / "slt_pipeline" / "stages").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) >= 60
    }
    assert long == {}


def test_what_a_tap_is_stands_in_one_table():
    named = [path for path in _python_files(("slt_pipeline",)) if "gloss_probs" in path.read_text(encoding="utf-8")]
    assert named == [ROOT / "slt_pipeline" / "config" / "taps.py"]
