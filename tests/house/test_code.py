"""Rules for every module: nothing is dead, every file is written in one place, every file says its purpose."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dead_code import unused

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("slt_pipeline", "cache")

# Used by nothing in the project itself, with the reason.
KEPT = {
    "slt_pipeline/models/weights.py: convert_head_keys": "for users of the library, until it has a command",
}

# Writes that do not go through slt_pipeline/files.py: path -> what is written there, and why.
OWN_WRITES = {
    "slt_pipeline/avatar/encode.py: Image.fromarray(image).save": "pictures of that folder, while it is unfinished",
    "slt_pipeline/avatar/encode.py: unfinished.replace": "a folder of pictures, which appears whole; files.py has none",
    "slt_pipeline/training/checkpoint.py: torch.save": "nobody reads a checkpoint before its meta.json, written last",
    "slt_pipeline/training/run.py: aside(folder).rename": "a run folder, put back whole",
    "slt_pipeline/training/run.py: self.folder.rename": "a run folder, moved aside whole",
    "slt_pipeline/training/runlog.py: self.path.open": "metrics.jsonl grows by a line at a time",
    "slt_pipeline/video/by_torchcodec.py: av.open": "a small video in memory",
}


def test_nothing_is_dead():
    assert sorted(set(unused(ROOT, PACKAGES, of="slt_pipeline")) - set(KEPT)) == []


def test_what_is_kept_unused_is_still_there_and_unused():
    assert sorted(set(KEPT) - set(unused(ROOT, PACKAGES, of="slt_pipeline"))) == []


def test_planted_dead_code_is_found(tmp_path):
    (tmp_path / "slt_pipeline").mkdir()
    (tmp_path / "slt_pipeline" / "a.py").write_text(
        "import b\nLIMIT = 3\nUNUSED: int = 4\n\n\ndef f():\n    return LIMIT + b.g()\n\n\n"
        "class C:\n    def used(self):\n        return self.used\n\n    def unused(self):\n        return log\n"
    )
    (tmp_path / "slt_pipeline" / "b.py").write_text(
        "log = 1\nCOMMANDS = {'c': 'a:C'}\n\n\ndef g():\n    return COMMANDS\n"
    )
    found = unused(tmp_path, ("slt_pipeline",), of="slt_pipeline")
    assert found == [
        "slt_pipeline/a.py: UNUSED",
        "slt_pipeline/a.py: f",
        "slt_pipeline/a.py: C.unused",
        "slt_pipeline/b.py: log",
    ]


def test_every_file_is_written_in_one_place():
    paths = [path for path in _modules() if path != ROOT / "slt_pipeline" / "files.py"]
    found = [f"{_name(path)}: {call}" for path in paths for call in _writes(path.read_text(encoding="utf-8"))]
    found = [write for write in found if write.startswith("slt_pipeline/")]
    assert sorted(set(found) - set(OWN_WRITES)) == []
    assert sorted(set(OWN_WRITES) - set(found)) == []


@pytest.mark.parametrize(
    ("source", "writes"),
    [
        ("path.write_text('x')", ["path.write_text"]),
        ("(folder / 'a').write_bytes(b'')", ["(folder / 'a').write_bytes"]),
        ("scratch.replace(path)", ["scratch.replace"]),
        ("os.replace(a, b)", ["os.replace"]),
        ("with path.open('a') as f: pass", ["path.open"]),
        ("open(path, mode='wb')", ["open"]),
        ("from slt_pipeline.files import write_text\nwrite_text(path, 'x')", []),
        ("text.replace('a', b)", []),
        ("av.open(str(path), 'w')", ["av.open"]),
        ("path.open('rb')", []),
        ("Store.open(path, mode='a')", []),
        ("torch.save(state, path)", ["torch.save"]),
        ("np.savez(path, a=a)", ["np.savez"]),
        ("save_file(tensors, path)", ["save_file"]),
        ("figure.savefig(path)", ["figure.savefig"]),
        ("json.dump(data, file)", ["json.dump"]),
        ("shutil.copy(a, b)", ["shutil.copy"]),
        ("import PIL\npicture.save(path)", ["picture.save"]),
        ("vocabulary.save(folder)", []),
        ("with replacing(path) as scratch, scratch.open('wb') as f, av.open(scratch, 'w'): pass", []),
        ("with replacing(path) as scratch:\n    torch.save(state, scratch)", []),
    ],
)
def test_a_write_is_found(source, writes):
    assert list(_writes(source)) == writes


def test_every_module_says_its_purpose_in_one_line_of_its_own():
    """The first lines of the modules are the map of the files; what is empty has no purpose to say."""
    purposes = {_name(path): _purpose(path) for path in _modules() if path.stat().st_size}
    assert [name for name, purpose in purposes.items() if not purpose] == []
    assert [name for name, purpose in purposes.items() if len(purpose) >= 120 or not purpose.endswith(".")] == []
    lines = list(purposes.values())
    assert sorted(name for name, purpose in purposes.items() if lines.count(purpose) > 1) == []


# Calls of others' libraries that write a file; `*` is whatever they are called on.
_SAVING = {"torch.save", "np.save", "np.savez", "np.savez_compressed", "np.savetxt", "save_file", "json.dump"}
_SAVING |= {f"shutil.{name}" for name in ("copy", "copy2", "copyfile", "copyfileobj", "copytree", "move")}
_SAVING |= {"*.savefig", "*.save_pretrained", "*.tofile", "*.to_csv", "*.touch"}


def test_every_public_function_says_what_it_refuses():
    functions = [(_name(path), node) for path in _modules() for node in _public(path.read_text(encoding="utf-8"))]
    assert len(functions) > 500
    assert [
        f"{name}: {node.name}"
        for name, node in functions
        if not name.startswith("slt_pipeline/cli/")  # docstrings of commands are help texts
        and _refuses(node)
        and not re.search("raise|refuse|SltError", ast.get_docstring(node) or "", re.IGNORECASE)
    ] == []


@pytest.mark.parametrize(
    ("source", "refuses"),
    [
        ("def f():\n    if x:\n        raise SltError('no')", True),
        ("def f():\n    raise", False),
        ("def f():\n    def g():\n        raise SltError('no')\n    return g", False),
        ("class C:\n    def f(self):\n        raise SltError('no')", True),
    ],
)
def test_what_a_function_refuses_is_found(source, refuses):
    assert [_refuses(node) for node in _public(source)] == [refuses]


def _public(source: str) -> Iterator[ast.FunctionDef]:
    """Functions of a module and methods of its classes whose names, and those of the classes, are public."""
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for place in (tree, *classes):
        yield from (n for n in place.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_"))


def _refuses(function: ast.FunctionDef) -> bool:
    nodes: list[ast.AST] = [*function.body]
    for node in nodes:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "SltError":
            return True
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return False


def _modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _purpose(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _writes(source: str) -> Iterator[str]:
    """Calls that write or rename a file; what is done to the temporary file that `replacing` yields is none."""
    tree = ast.parse(source)
    saving = _SAVING | ({"*.save"} if re.search(r"^(from|import) PIL\b", source, re.MULTILINE) else set())
    safe = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if ast.unparse(item.context_expr).startswith("replacing(") and isinstance(item.optional_vars, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        owner, _, method = call.rpartition(".")
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if owner in safe or any(isinstance(value, ast.Name) and value.id in safe for value in arguments):
            continue
        writing = method == "open" and not owner[:1].isupper() and any(map(_is_writing_mode, arguments))
        renaming = bool(owner) and method in ("rename", "replace") and _renames(owner, node)
        named = (owner and method in ("write_text", "write_bytes")) or {call, f"*.{method}"} & saving
        if writing or renaming or named:
            yield call


def _is_writing_mode(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and re.fullmatch(r"[rt]?[wax][bt+]*", str(node.value)) is not None


def _renames(owner: str, node: ast.Call) -> bool:
    """Say whether `x.replace(...)` renames: `os.replace(a, b)`, or one argument, where that of a text has two."""
    return owner == "os" or (len(node.args) == 1 and not node.keywords)
