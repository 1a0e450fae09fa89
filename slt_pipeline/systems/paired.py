"""P-values of the runs of a sweep, from the sentences that each of them decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slt_pipeline.files import json_line, read_json
from slt_pipeline.metrics.bleu import sentence_statistics
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.metrics.significance import compare_bleu_statistics

Run = Mapping[str, Any]
"""A row of a sweep's results."""


@dataclass(frozen=True)
class _Sentences:
    """What one run made of a split."""

    protocol: str
    ids: tuple[str, ...]
    statistics: np.ndarray
    """(N, 10), of what BLEU sums."""


class PairedTest:
    """Compares runs of one sweep by BLEU-4; what was read of a run is not read again."""

    def __init__(self, folder: Path):
        """Read nothing yet.

        Args:
            folder: the sweep's; a run's own lies below it.
        """
        self.folder = folder
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
                sums = (sum(sentences.statistics for sentences in side) for side in zip(*pairs, strict=True))
                found[split] = compare_bleu_statistics(*map(np.asarray, sums)).p_value
        return found

    def _sentences(self, run: Run, split: str) -> _Sentences | None:
        scored = run["scores"].get(split)
        if not scored or "folder" not in run:
            return None
        key = json_line([run["folder"], split, scored])
        if key not in self._read:
            self._read[key] = _read(self.folder / run["folder"] / "evaluate" / f"sign2text-{split}.json", scored)
        return self._read[key]


def _read(path: Path, scored: Mapping[str, Any]) -> _Sentences | None:
    """Read what a run decoded; None: it is gone, or was decoded anew in another way since it was scored."""
    if not path.is_file():
        return None
    found = read_json(path)
    clips, protocol = found.pop("clips"), get_protocol(scored["protocol"])
    if any(scored.get(name) != value for name, value in found.items()):
        return None
    hypotheses, references = (
        protocol.prepare_text([clip[side] for clip in clips]) for side in ("hypothesis", "reference")
    )
    ids = tuple(clip["id"] for clip in clips)
    return _Sentences(protocol.name, ids, sentence_statistics(hypotheses, references, protocol.level))
