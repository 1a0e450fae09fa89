"""The runs of a sweep: every variant and combination of its grid, once per seed, each with a folder of its own."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slt_pipeline.config.recipe import Recipe, with_values
from slt_pipeline.config.search import SearchConfig
from slt_pipeline.config.stages import SweepConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import text_hash

_MOST_PROBES = 500
"""Combinations of the values of other keys with which a value is tried that cannot stand beside the recipe's own."""
_LONGEST = 120
"""Bytes of a folder's name, well below what file systems take."""


@dataclass(frozen=True)
class Variant:
    """One run of a sweep."""

    name: str
    """Its name among the sweep's variants; empty: a sweep of a grid alone."""
    own: dict[str, Any]
    """The keys that its name stands for."""
    shown: dict[str, Any]
    """Those of the grid, which the table shows."""
    seed: int
    recipe: Recipe | None
    error: str = ""
    """Why the values do not go together, where they do not."""
    number: int = 0
    """Its place in a search, from 1; 0: it is of a grid or a named row."""

    @property
    def values(self) -> dict[str, Any]:
        """Every key that it sets."""
        return {**self.own, **self.shown}

    @property
    def slug(self) -> str:
        """Name of its folder: its name and every key of the grid, whole.

        A hash stands for the keys of its name, so that another definition under the same name is another run.
        """
        named = {"variant": f"{self.name}-{text_hash(_sorted(self.own))[:8]}" if self.own else self.name}
        pairs = {**(named if self.name else {}), **self.shown, "seed": self.seed}.items()
        text = "_".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in pairs)
        plain = re.sub(r"[^\w=.+-]+", "-", text.replace('"', ""))
        if len(plain.encode()) <= _LONGEST:
            return plain
        return f"{plain.encode()[: _LONGEST - 10].decode(errors='ignore')}-{text_hash(text)[:8]}"


def runs_of(recipe: Recipe, config: SweepConfig, where: str = "sweep") -> list[Variant]:
    """Every run of a sweep, in the order in which they are made.

    Args:
        recipe: the experiment that is varied.
        config: its sweep.
        where: the key of that in the recipe, for messages.

    Raises:
        SltError: a value that no run can have, a variant that cannot be, or two that are the same.
    """
    alone = _without_sweeps(recipe)
    runs = [
        _variant(alone, name, own, dict(zip(config.grid, chosen, strict=True)), seed)
        for name, own in (config.variants or {"": {}}).items()
        for chosen in itertools.product(*config.grid.values())
        for seed in recipe.seeds_of(config)
    ]
    for key, values in config.grid.items():
        for value in values:
            _require_one_that_can_be([run for run in runs if run.shown[key] == value])
    for name in config.variants:
        _require_one_that_can_be([run for run in runs if run.name == name], f"variant {name}: ")
    _refuse_twins(runs)
    _refuse_shared_folders(runs, f"{where}.grid", ", or give each a name under variants")
    return runs


def run_of_search(recipe: Recipe, values: Mapping[str, Any], number: int, seed: int) -> Variant:
    """The run of a search that has these values."""
    return replace(_variant(_without_sweeps(recipe), "", {}, dict(values), seed), number=number)


def probes_of(recipe: Recipe, search: SearchConfig, where: str) -> list[Variant]:
    """Runs that a search might make: one for each value of each key that says whether its others can be.

    Raises:
        SltError: a value that no run can have; the key is named.
    """
    alone, found = _without_sweeps(recipe), list[Variant]()
    for key, space in search.keys.items():
        others = {name: other.probes for name, other in search.keys.items() if name != key}
        for value in space.probes:
            combinations = (dict(zip(others, chosen, strict=True)) for chosen in itertools.product(*others.values()))
            tried = itertools.chain([{}], itertools.islice(combinations, _MOST_PROBES))
            runs = (_variant(alone, "", {}, {key: value, **beside}, recipe.seed) for beside in tried)
            first = next(runs)
            run = first if first.recipe else next((run for run in runs if run.recipe), None)
            if run is None:
                raise SltError(f"{where}.search.keys.{key} may be {json.dumps(value)}, and no run can: {first.error}")
            found.append(run)
        _refuse_shared_folders(found[-len(space.probes) :], f"{where}.search.keys")
    return found


def key_of(row: Mapping[str, Any]) -> str:
    """What tells the runs of a sweep apart, of a row of its results, of the first edition too."""
    return _sorted([row.get("variant", ""), row["values"], row["seed"]])


def is_defined(row: Mapping[str, Any], config: SweepConfig) -> bool:
    """Whether a row of earlier results is of one of the variants, defined as they are now."""
    defined, name = config.variants or {"": {}}, row.get("variant", "")
    return name in defined and row["values"] == {**defined[name], **row.get("shown", row["values"])}


def _without_sweeps(recipe: Recipe) -> Recipe:
    """Return a recipe without what a single run may contradict."""
    return recipe.model_copy(update={"sweep": SweepConfig(), "sweeps": {}})


def _variant(recipe: Recipe, name: str, own: dict[str, Any], shown: dict[str, Any], seed: int) -> Variant:
    try:
        return Variant(name, own, shown, seed, with_values(recipe, {**own, **shown, "seed": seed}))
    except SltError as error:
        return Variant(name, own, shown, seed, None, str(error))


def _require_one_that_can_be(runs: Sequence[Variant], where: str = "") -> None:
    """A value that no combination can have is a mistake; one that some cannot have is a row that says so."""
    if runs and all(run.recipe is None for run in runs):
        raise SltError(f"{where}{runs[0].error}")


def _refuse_twins(runs: Sequence[Variant]) -> None:
    """Refuse two variants that are one run: an ablation that takes nothing away."""
    for one, other in _pairs(runs):
        if one.recipe is not None and one.recipe == other.recipe:
            raise SltError(
                f"variants {one.name} and {other.name} are the same run: beside the recipe {other.name} changes "
                f"{', '.join(other.own) or 'nothing'}, to what {one.name} has; leave one of them out"
            )


def _refuse_shared_folders(runs: Sequence[Variant], where: str, or_else: str = "") -> None:
    """Refuse values of a key that are one run, such as 4 and "4", or would go to one folder."""
    known: dict[Any, Variant] = {}
    for run in runs:
        whole = run.recipe and (run.name, run.recipe.model_dump_json())
        for what, why in ((whole, "which is one run"), (run.slug, f"and both runs would go to {run.slug}")):
            other = known.setdefault(what, run) if what else run
            key = next((key for key, value in run.shown.items() if repr(value) != repr(other.shown[key])), None)
            if key is not None:
                raise SltError(
                    f"{where}.{key} lists {other.shown[key]!r} and {run.shown[key]!r}, {why}; leave one of them out"
                    + (or_else if what == run.slug else "")
                )


def _pairs(runs: Sequence[Variant]) -> Iterator[tuple[Variant, Variant]]:
    for one, other in itertools.combinations(runs, 2):
        if one.name != other.name and (one.shown, one.seed) == (other.shown, other.seed):
            yield one, other


def _sorted(data: Any) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False)
