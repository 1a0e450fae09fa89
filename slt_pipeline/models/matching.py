"""Weights of other projects beside a model of ours: which names match, which are missing, which are of no use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slt_pipeline.errors import SltError

NO_USE = ""
"""What a name stands for of which nothing here has a use: another network's classifier, a table that is computed."""
_COUNTER = "num_batches_tracked"
"""Batches that a norm has seen: old checkpoints lack them, and with a momentum nothing reads them."""
_COPY = "no copy of what it should repeat"


@dataclass(frozen=True)
class Match:
    """Foreign weights beside the names and shapes of a model of ours."""

    found: Mapping[str, Tensor]
    """Of every name of ours that was found, its value; counters that an old checkpoint lacks are 0."""
    missing: Sequence[str]
    """Names of ours that nothing stands for."""
    unexpected: Sequence[str]
    """Foreign names that should have a place here and have none."""
    misshapen: Sequence[str]
    """Foreign names whose shapes differ from ours, with both."""
    unequal: Sequence[str]
    """Foreign names that stand for the same as another one and have other values."""
    left_out: Sequence[str]
    """Foreign names, and entries of the file, that are knowingly of no use."""

    def beside(self, entries: Sequence[str]) -> "Match":
        """Return the same, with further entries of the file that are of no use."""
        return replace(self, left_out=[*self.left_out, *entries])

    def without(self, prefix: str) -> "Match":
        """Return the same, the names of ours without what they begin with."""
        found = {name.removeprefix(prefix): value for name, value in self.found.items()}
        return replace(self, found=found, missing=[name.removeprefix(prefix) for name in self.missing])

    def report(self) -> dict[str, int | list[str]]:
        """Return the number of matches and the full lists of all else, as JSON."""
        return {"matched": len(self.found)} | {kind: list(names) for kind, names in self._kinds().items()}

    def line(self) -> str:
        """Return the counts with the first names, on one line."""
        rest = (f"{len(names)} {kind}{_some(names)}" for kind, names in self._kinds().items() if names or kind != _COPY)
        return ", ".join([f"{len(self.found)} names matched", *rest])

    def require_whole(self, what: str, cure: str) -> None:
        """Refuse weights that are not the model's.

        Raises:
            SltError: the names, by kind; `what` begins the message and `cure` ends it.
        """
        faults = {kind: names for kind, names in self._kinds().items() if names and kind != "left out"}
        if faults:
            told = ", ".join(f"{len(names)} {kind}{_some(names)}" for kind, names in faults.items())
            raise SltError(f"{what} does not fit: {len(self.found)} names match, {told}; {cure}")

    def _kinds(self) -> dict[str, Sequence[str]]:
        return {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.misshapen,
            _COPY: self.unequal,
            "left out": self.left_out,
        }


def lay_beside(state: Mapping[str, Tensor], own: Mapping[str, Tensor], our_name: Callable[[str], str | None]) -> Match:
    """Lay foreign weights beside ours; nothing is loaded.

    Args:
        state: theirs by name.
        own: ours by name; only names, shapes and types count.
        our_name: of a foreign name ours, `NO_USE`, or None: it should have a place here and has none.
    """
    found: dict[str, Tensor] = {}
    stood_for, left_out, unexpected, misshapen, unequal = set(), [], [], [], []
    for theirs, value in state.items():
        name = our_name(theirs)
        if name == NO_USE:
            left_out.append(theirs)
        elif name is None or name not in own:
            unexpected.append(theirs)
        elif name in found and not (value is found[name] or torch.equal(value, found[name])):
            unequal.append(theirs)
        elif value.shape != own[name].shape:
            misshapen.append(f"{theirs} {tuple(value.shape)}, here {tuple(own[name].shape)}")
        else:
            found[name] = value
        stood_for.add(name)
    missing = [name for name in own if name not in stood_for]
    if found:
        found |= {name: torch.zeros(own[name].shape, dtype=own[name].dtype) for name in missing if _is_counter(name)}
    return Match(found, [name for name in missing if not _is_counter(name)], unexpected, misshapen, unequal, left_out)


def _is_counter(name: str) -> bool:
    return name.endswith(_COUNTER)


def _some(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
