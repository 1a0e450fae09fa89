"""Keys and values as earlier versions called them: a recipe that uses one is told today's, an old run is read by it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slt_pipeline.errors import SltError

ALIASES = {"optimizer": "optimiser"}
"""Spellings that are taken as they come."""


@dataclass(frozen=True)
class Former:
    """One key that was renamed, moved or given up, or of which a value was renamed."""

    old: str
    """End of the key as it was, whole parts."""
    new: str | None
    """The same key today; None: it is gone."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Values that have another name today. `yes` and `no` are true and false too, which is how YAML reads them."""
    why: str = ""
    """Of a key that is gone: why, and what to do."""

    def value(self, old: Any) -> Any:
        """Return today's value for an old one."""
        word = _word(old)
        return self.values.get(word, old) if isinstance(word, str) else old


FORMER = (
    Former("training.mixed_precision", "training.precision", {"no": "fp32"}),
    Former("training.precision", "training.precision", {"no": "fp32"}),
    Former("translate_train.resident", "translate_train.features_in", {"no": "files", "yes": "memory"}),
    Former("translate_train.features_in", "translate_train.features_in", {"no": "files", "yes": "memory"}),
    Former("translator.head", "translator.head", {"frozen": "stored"}),
    Former("translator.recognition_weight", "translate_train.objective.recognition"),
    Former("translator.translation_weight", "translate_train.objective.translation"),
    Former("extract.batch_size", None, why="clips are encoded one at a time, so that no padding reaches a number"),
)

ABSENT = "absent"
"""What an account says of something that could not be looked at, or that nothing depends on that was made before: it
tells no difference."""

BEFORE: dict[str, Any] = {
    "encoder.head.padding": "published",
    "head_config.padding": "published",
    "text.detokenise": "published",
    "video.transform.max_pixels": None,
    "transform.max_pixels": None,
    "visual_train.times": "spike",
    "times": ABSENT,
}
"""What a field stood for before there was one, by the end of its key, where that is not today's default."""


def refuse_former(key: str, value: Any, where: str = "") -> None:
    """Refuse a key of a recipe, or a value of it, that has another name today.

    Args:
        key: Dotted key.
        value: Its value; in a sweep's grid the list of its values.
        where: What begins the message.

    Raises:
        SltError: the message names today's key and value.
    """
    former = _match(key.split("."), whole=True)
    if former is None:
        return
    olds = value if isinstance(value, list) else [value]
    renamed = [f"{_word(old)} is {former.value(old)}" for old in olds if former.value(old) is not old]
    if former.new is None:
        raise SltError(f"{where}{key} is gone: {former.why}; delete it")
    if former.new != former.old:
        now = f"{key.removesuffix(former.old)}{former.new}"
        raise SltError(f"{where}{key} is called {now} now{''.join(f'; {text}' for text in renamed)}")
    if renamed:
        raise SltError(f"{where}{key}: {', '.join(renamed).replace(' is ', ' is called ')} now")


def refuse_former_keys(data: Mapping[str, Any], where: str = "") -> None:
    """Refuse the first key or value of nested plain data that has another name today.

    A search names a key, and below it what it may be.

    Raises:
        SltError: see `refuse_former`.
    """
    for path, value in _leaves(data):
        refuse_former(".".join(path), value, where)
        refuse_former(".".join(path[:-1]), value if path[-1] == "choices" else None, where)


def upgrade(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a run that an earlier version made, under today's keys and values.

    Args:
        flat: Inputs by dotted key. A key may begin with further parts (`language_model.mbart...`), or lack some that it
            has in a recipe: a run's inputs leave out the section of its own stage.
    """
    today: dict[str, Any] = {}
    for key, value in flat.items():
        parts = key.split(".")
        former = _match(parts, whole=False)
        if former is None:
            today[key] = value
        elif former.new is not None:
            today[".".join(_renamed(parts, former))] = former.value(value)
    return today


def upgrade_recipe(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved recipe that an earlier version saved, as plain data of today.

    Fields that did not exist are given what they stood for (`BEFORE`). The sweep is left out: its table is its own.
    """
    today: dict[str, Any] = {}
    for path, value in _leaves({key: section for key, section in data.items() if key != "sweep"}):
        former = _match(path, whole=True)
        if former is None:
            _set(today, path, value)
        elif former.new is not None:
            old = former.old.split(".")
            _set(today, [*path[: -len(old)], *former.new.split(".")], former.value(value))
    for key, value in BEFORE.items():
        section, *rest = key.split(".")
        if section in data:
            _set(today, [section, *rest], value, only_if_missing=True)
    return today


def _match(parts: Sequence[str], *, whole: bool) -> Former | None:
    """Return the entry that a key ends with; not `whole`: or that ends with the key."""
    for former in FORMER:
        old = former.old.split(".")
        shared = min(len(parts), len(old))
        # A gone key is only known by all its parts: its last one may be alive elsewhere.
        enough = shared == len(old) or (not whole and former.new is not None)
        if enough and list(parts[-shared:]) == old[-shared:]:
            return former
    return None


def _renamed(parts: Sequence[str], former: Former) -> list[str]:
    old, new = former.old.split("."), str(former.new).split(".")
    shared = min(len(parts), len(old))
    lacking = old[: len(old) - shared]
    if old[0] != new[0]:
        new = new[1:]  # moved to the section of a stage, which the stage's own inputs leave out
    while lacking and new[0] == lacking[0]:
        lacking, new = lacking[1:], new[1:]
    return [*parts[:-shared], *new]


def _leaves(data: Mapping[str, Any], walked: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*walked, str(key)))
        else:
            yield (*walked, str(key)), value


def _set(data: dict[str, Any], path: Sequence[str], value: Any, *, only_if_missing: bool = False) -> None:
    for part in path[:-1]:
        data = data.setdefault(part, {})
    if not only_if_missing or path[-1] not in data:
        data[path[-1]] = value


def _word(value: Any) -> Any:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
