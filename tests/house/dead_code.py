"""Names that a package defines and nothing in it uses, found by reading the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_LISTED = re.compile(r"[\w.]+:(\w+)")  # as lazy commands are listed: `train:visual_train`


def unused(root: Path, packages: tuple[str, ...], of: str) -> list[str]:
    """Functions, classes, methods and constants of the package `of` that nothing in `packages` uses, as `path: name`.

    What a decorator takes (a command, a validator) is used by it, and a method of a class with a base may be called by
    the base.
    """
    trees = {
        path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for package in packages
        for path in sorted((root / package).rglob("*.py"))
    }
    imported = {name for tree in trees.values() for name in _imported(tree)}
    attributes = {node.attr for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = []
    for path, tree in trees.items():
        if path.startswith(f"{of}/"):
            names = [name for name in _defined(tree) if name not in imported | _loaded(tree)]
            methods = [name for name in _methods(tree) if name.rpartition(".")[2] not in attributes]
            found += [f"{path}: {name}" for name in (*names, *methods)]
    return found


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and not node.decorator_list):
            yield from [] if node.name.startswith("__") else [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            yield from (name for name in names if not name.startswith("__"))


def _methods(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.bases:
            functions = [
                inner for inner in node.body if isinstance(inner, ast.FunctionDef) and not inner.decorator_list
            ]
            yield from (f"{node.name}.{inner.name}" for inner in functions if not inner.name.startswith("__"))


def _loaded(tree: ast.Module) -> set[str]:
    """Names that a module itself reads."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _imported(tree: ast.Module) -> Iterator[str]:
    """Names that a module takes from others: imported, as an attribute of an imported module, or listed in a text."""
    nodes = list(ast.walk(tree))
    aliases = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    yield from (alias.name for alias in aliases)
    modules = {alias.asname or alias.name for alias in aliases}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _LISTED.findall(node.value)
