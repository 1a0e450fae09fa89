"""P-values of the runs of a sweep, from the sentences that each of them decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.files import json_line
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.metrics.significance import Sums, bootstrap
from slt_pipeline.systems.predictions import columns, predictions_file, read_predictions, scored_as

Run = Mapping[str, Any]
"""A row of a sweep's results."""


@dataclass(frozen=True)
class _Sentences:
    """What one run made of a split."""

    protocol: str
    ids: tuple[str, ...]
    bleu: Sums


class PairedTest:
    """Compares runs of one sweep by BLEU-4; what was read of a run is not read again."""

    def __init__(self, folder: Path, task: str = "sign2text"):
        """Read nothing yet.

        Args:
            folder: the sweep's; a run's own lies below it.
            task: what its runs were scored on.
        """
        self.folder, self.task = folder, task
        self._read: dict[str, _Sentences | None] = {}

    def p_values(self, runs: Sequence[Run], baseline: Sequence[Run]) -> dict[str, float]:
        """P-value by split of runs that differ in their seed alone, against others of that kind.

        They are compared on the seeds that both have, each sentence with its outputs of all of them. A split on which
        they share none, or were scored otherwise or on other clips, has no p-value.
        """
        of, against = ({run["seed"]: run for run in some if "scores" in run} for some in (runs, baseline))
        found: dict[str, float] = {}
        for split in dict.fromkeys(split for run in of.values() for split in run["scores"]):
            pairs = [
                (mine, theirs)
                for seed in of.keys() & against.keys()
                if (mine := self._sentences(of[seed], split)) and (theirs := self._sentences(against[seed], split))
            ]
            everything = [sentences for pair in pairs for sentences in pair]
            if len({(sentences.protocol, sentences.ids) for sentences in everything}) == 1:
                mine, theirs = (_together([each.bleu for each in side]) for side in zip(*pairs, strict=True))
                found[split] = bootstrap(mine, theirs).p_value
        return found

    def _sentences(self, run: Run, split: str) -> _Sentences | None:
        scored = run["scores"].get(split)
        if not scored or "folder" not in run:
            return None
        key = json_line([run["folder"], split, scored])
        if key not in self._read:
            path = predictions_file(self.folder / run["folder"] / "evaluate", f"{self.task}-{split}")
            self._read[key] = None if path is None else _read(path, scored)
        return self._read[key]


def _together(seeds: Sequence[Sums]) -> Sums:
    """What a score sums of a sentence, over the outputs of all seeds."""
    return Sums(sum(sums.each for sums in seeds[1:]) + seeds[0].each, seeds[0].scores)


def _read(path: Path, scored: Mapping[str, Any]) -> _Sentences | None:
    """Read what a run decoded; None: it was decoded anew in another way since it was scored."""
    found, protocol = read_predictions(path), get_protocol(scored["protocol"])
    if "predictions" in scored:
        anew = found.digest != scored["predictions"]
    else:  # an earlier version kept the row in the file itself
        anew = any(scored.get(name) != value for name, value in scored_as(path).items())
    if anew:
        return None
    return _Sentences(protocol.name, found.ids, protocol.bleu_sums(*columns(found.pairs())))
