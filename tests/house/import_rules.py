"""Who may import whom. `violations(root)` reads the source, so that imports inside functions count too.

    cli -> stages -> systems -> {corpora, avatar, training, models, video, text, metrics, report}
        -> config, files, errors

`cache` stands beside: it knows nothing of the pipeline, and few modules of the pipeline know it.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MIDDLE = frozenset({"corpora", "avatar", "training", "models", "video", "text", "metrics", "report"})
BELOW_ALL = frozenset({"", "errors", "files"})  # "" is slt_pipeline itself: the version

# Room of slt_pipeline -> rooms it may import besides itself. A folder that is not named here is a violation.
ROOMS: dict[str, frozenset[str]] = {
    "": frozenset(),
    "errors": frozenset(),
    "files": frozenset({"errors"}),
    "config": BELOW_ALL,
    "metrics": BELOW_ALL | {"config", "text"},
    "report": BELOW_ALL | {"config"},
    "models": BELOW_ALL | {"config"},
    "training": BELOW_ALL | {"config"},
    "video": BELOW_ALL | {"config"},
    "text": BELOW_ALL | {"config"},
    "corpora": BELOW_ALL | {"config", "video", "text"},
    "avatar": BELOW_ALL | {"config", "corpora"},
    "systems": BELOW_ALL | MIDDLE | {"config"},
    "stages": BELOW_ALL | MIDDLE | {"config", "systems"},
    "cli": BELOW_ALL | MIDDLE | {"config", "systems", "stages"},
}

MAY_USE_STORE = frozenset(
    {
        "slt_pipeline",  # the guard against another package called cache
        "slt_pipeline.cli.cache.care",
        "slt_pipeline.cli.cache.common",
        "slt_pipeline.cli.cache.copy",
        "slt_pipeline.cli.cache.diff",
        "slt_pipeline.cli.cache.rm",
        "slt_pipeline.corpora.feature_pickles",  # features of the published systems, into a store and out of it
        "slt_pipeline.corpora.device_features",  # a stream held on a device
        "slt_pipeline.corpora.features",  # the feature data set
        "slt_pipeline.stages.cache_care",  # clips encoded again, clips that the manifest has no use for
        "slt_pipeline.stages.extract",
        "slt_pipeline.systems.features",  # phase two opens the store, what made it compared
    }
)
MAY_USE_STORE_ERRORS = frozenset({"slt_pipeline.cli.main"})  # tells the user's mistakes from faults

# Packages that only the named modules import: one backend a file, and a light configuration.
ONLY_IN: dict[str, frozenset[str]] = {
    "zarr": frozenset({"cache.backends.zarr"}),
    "numcodecs": frozenset({"cache.compression"}),
    "h5py": frozenset({"cache.backends.hdf5"}),
    "obstore": frozenset({"cache.places.objects"}),
    "tokenizers": frozenset({"slt_pipeline.text.byte_pieces"}),
    "torchcodec": frozenset({"slt_pipeline.video.by_torchcodec"}),
    "openvino": frozenset({"slt_pipeline.models.engines"}),
    "isal": frozenset({"cache.seal"}),
    "av": frozenset({"slt_pipeline.video", "slt_pipeline.avatar"}),
    "sacrebleu": frozenset({"slt_pipeline.metrics"}),
    "matplotlib": frozenset({"slt_pipeline.report"}),
    "sklearn": frozenset(
        {"slt_pipeline.report.tsne", "slt_pipeline.systems.confidence_fit", "slt_pipeline.systems.likeness"}
    ),
    "optuna": frozenset({"slt_pipeline.systems.search"}),
    "click": frozenset({"slt_pipeline.cli"}),
}
HEAVY = frozenset({"torch", "torchvision", "transformers"})


def violations(root: Path) -> list[str]:
    """Every forbidden import below `root`, as `module: what is wrong`, sorted."""
    return sorted(
        {
            f"{name}: {fault}"
            for name, targets in imports(root).items()
            for target in targets
            for fault in _faults(name, target)
        }
    )


def circles(root: Path) -> list[str]:
    """Every import circle below `root`, as `a -> b -> a`: of each set of modules that reach each other, a shortest one.

    Imports inside functions and those for type annotations count: what has to know its user is in the wrong place,
    whenever it asks.
    """
    graph = {name: targets - {name} for name, targets in imports(root).items()}
    found: list[str] = []
    seen: set[str] = set()
    for name in sorted(graph):
        if name not in seen and (way := _way_back(graph, name)):
            found.append(" -> ".join(way))
            seen.update(way)
    return found


def stale_permissions(root: Path) -> list[str]:
    """Every permission for a single module that nothing below `root` makes use of, sorted."""
    used = {(name, target) for name, targets in imports(root).items() for target in targets}
    tops = {(name, target.split(".")[0]) for name, target in used}
    faults = [f"{name} may use the store" for name in MAY_USE_STORE if (name, "cache") not in tops]
    faults += [
        f"{name} may catch errors of the store" for name in MAY_USE_STORE_ERRORS if (name, "cache.errors") not in used
    ]
    faults += [
        f"{home} may import {package}"
        for package, homes in ONLY_IN.items()
        for home in homes
        if not any(top == package and _lies_in(name, home) for name, top in tops)
    ]
    return sorted(faults)


def imports(root: Path) -> dict[str, frozenset[str]]:
    """Module of the project -> the modules that it imports, its own and others'."""
    sources = {name: path for package in ("slt_pipeline", "cache") for name, path in _modules(root, package)}
    known = frozenset(sources)
    return {name: frozenset(_imports(name, path, known)) for name, path in sources.items()}


def _way_back(graph: dict[str, frozenset[str]], start: str) -> list[str]:
    """A shortest way from a module to itself; empty if there is none."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        for target in sorted(graph.get(way[-1], frozenset())):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def _modules(root: Path, package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports(name: str, path: Path, known: frozenset[str]) -> Iterator[str]:
    """Full names of the modules that one file imports; `from package import module` yields the module."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in known else base


def _faults(name: str, target: str) -> Iterator[str]:
    top = target.split(".")[0]
    if name.split(".")[0] == "cache":
        if top in ("slt_pipeline", "recipes"):
            yield f"the store imports {target}"
        elif top in HEAVY:
            yield f"the store imports {top}"
    elif top == "cache":
        errors_only = target == "cache.errors" and name in MAY_USE_STORE_ERRORS
        if name not in MAY_USE_STORE and not errors_only:
            yield f"imports {target}; the store is for {', '.join(sorted(MAY_USE_STORE))}"
    elif top == "slt_pipeline":
        yield from _room_faults(name, target)
    elif _room(name) == "config" and top in HEAVY:
        yield f"config imports {top}"
    if top in ONLY_IN and not any(_lies_in(name, home) for home in ONLY_IN[top]):
        yield f"imports {top}, which is for {', '.join(sorted(ONLY_IN[top]))}"
    if top in ("tests", "recipes") and top not in sys.stdlib_module_names:
        yield f"imports {top}"


def _lies_in(name: str, home: str) -> bool:
    return name == home or name.startswith(f"{home}.")


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def _room_faults(name: str, target: str) -> Iterator[str]:
    room, other = _room(name), _room(target)
    for each in (room, other):
        if each not in ROOMS:
            yield f"{each} is no room of the house"
            return
    if other != room and other not in ROOMS[room]:
        yield f"{room or 'slt_pipeline'} imports {target}"
    elif room == other == "stages" and not _stage_may_import(_stage(name), _stage(target)):
        yield f"a stage imports {target}"


def _stage(name: str) -> str:
    return name.split(".")[2] if name.count(".") >= 2 else ""


def _stage_may_import(stage: str, other: str) -> bool:
    """Any stage may evaluate; a sweep is many trainings; the demo chains all."""
    if other == stage or stage == "demo":
        return True
    return (bool(stage) and other == "evaluate") or (
        stage == "sweep" and other in ("translate_train", "gloss2text_train")
    )
