"""Who may import whom. `violations(root)` reads the source, so that imports inside functions count too.

    cli -> stages -> systems -> {corpora, avatar, training, models, video, text, metrics, report} -> config, files, errors

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
    "metrics": BELOW_ALL | {"config"},
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

# Single modules that a further room may import.
EXCEPTIONS = frozenset(
    {("metrics", "slt_pipeline.text.normalise")}
)  # scoring and training text share one normalisation

MAY_USE_STORE = frozenset(
    {
        "slt_pipeline",  # the guard against another package called cache
        "slt_pipeline.cli.cache.care",
        "slt_pipeline.cli.cache.common",
        "slt_pipeline.cli.cache.copy",
        "slt_pipeline.cli.cache.diff",
        "slt_pipeline.cli.cache.rm",
        "slt_pipeline.corpora.feature_pickles",  # features of the published systems, into a store and out of it
        "slt_pipeline.corpora.features",  # the feature data set
        "slt_pipeline.stages._store",  # phase two opens the store, its fingerprint compared
        "slt_pipeline.stages.cache_care",  # clips encoded again, clips that the manifest has no use for
        "slt_pipeline.stages.extract",
        "slt_pipeline.stages.translate",
    }
)
MAY_USE_STORE_ERRORS = frozenset({"slt_pipeline.cli.main"})  # tells the user's mistakes from faults

# Packages that only the named modules import: one backend a file, and a light configuration.
ONLY_IN: dict[str, frozenset[str]] = {
    "zarr": frozenset({"cache.zarr_store"}),
    "numcodecs": frozenset({"cache.compression"}),
    "h5py": frozenset({"cache.hdf5_store"}),
    "obstore": frozenset({"cache.objects"}),
    "isal": frozenset({"cache.checksum"}),
    "av": frozenset({"slt_pipeline.video", "slt_pipeline.avatar"}),
    "jiwer": frozenset({"slt_pipeline.metrics"}),
    "sacrebleu": frozenset({"slt_pipeline.metrics"}),
    "matplotlib": frozenset({"slt_pipeline.report"}),
    "click": frozenset({"slt_pipeline.cli"}),
}
HEAVY = frozenset({"torch", "torchvision", "transformers", "accelerate"})


def violations(root: Path) -> list[str]:
    """Every forbidden import below `root`, as `module: what is wrong`, sorted."""
    sources = {name: path for package in ("slt_pipeline", "cache") for name, path in _modules(root, package)}
    found = set()
    for name, path in sources.items():
        for target in _imports(name, path, frozenset(sources)):
            found.update(f"{name}: {fault}" for fault in _faults(name, target))
    return sorted(found)


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
        elif top in HEAVY and (name, top) != ("cache.resident", "torch"):  # which holds streams on a torch device
            yield f"the store imports {top}"
    elif top == "cache":
        errors_only = target == "cache.errors" and name in MAY_USE_STORE_ERRORS
        if name not in MAY_USE_STORE and not errors_only:
            yield f"imports {target}; the store is for {', '.join(sorted(MAY_USE_STORE))}"
    elif top == "slt_pipeline":
        yield from _room_faults(name, target)
    elif _room(name) == "config" and top in HEAVY:
        yield f"config imports {top}"
    if top in ONLY_IN and not any(name == home or name.startswith(f"{home}.") for home in ONLY_IN[top]):
        yield f"imports {top}, which is for {', '.join(sorted(ONLY_IN[top]))}"
    if top in ("tests", "recipes") and top not in sys.stdlib_module_names:
        yield f"imports {top}"


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def _room_faults(name: str, target: str) -> Iterator[str]:
    room, other = _room(name), _room(target)
    for each in (room, other):
        if each not in ROOMS:
            yield f"{each} is no room of the house"
            return
    if (room, target) in EXCEPTIONS:
        return
    if other != room and other not in ROOMS[room]:
        yield f"{room or 'slt_pipeline'} imports {target}"
    elif room == other == "stages" and not _stage_may_import(_stage(name), _stage(target)):
        yield f"a stage imports {target}"


def _stage(name: str) -> str:
    return name.split(".")[2] if name.count(".") >= 2 else ""


def _stage_may_import(stage: str, other: str) -> bool:
    """Helpers start with `_`; any stage may evaluate; a sweep is many trainings; the demo chains all."""
    if other.startswith("_") or other == stage:
        return True
    return stage == "demo" or (bool(stage) and other == "evaluate") or (stage, other) == ("sweep", "translate_train")
