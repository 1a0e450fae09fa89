"""Trained translators side by side: the runs that an analysis looks at, and the clips that it asks them about."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.systems.scored_runs import begin_folder, folder_of
from slt_pipeline.systems.tasks import Systems
from slt_pipeline.systems.translator import trained_translator
from slt_pipeline.training.devices import pick_device

log = logging.getLogger(__name__)

FEWEST = 2
"""Clips without which there is nothing to compare."""
_OWN = "translate_train"


class Run(NamedTuple):
    """A trained translator."""

    recipe: Recipe
    folder: Path


@dataclass(frozen=True)
class Opened:
    """A run that is ready to be asked."""

    name: str
    """What tables and pictures call it."""
    systems: Systems
    features: FeatureDataset
    """The clips it is asked about, with labels of their texts."""

    @property
    def protocol(self) -> str:
        """Protocol and version by which its texts are scored."""
        return get_protocol(self.systems.recipe.corpus.protocol).title


@dataclass(frozen=True)
class Analysis:
    """What an analysis found."""

    table: str
    """For the terminal."""
    rows: list[dict[str, Any]]
    """The same, in full precision."""
    files: list[Path] = field(default_factory=list)
    """What was written."""


def opened(runs: Sequence[Run], split: str, device: str, clips: int | None = None) -> Iterator[Opened]:
    """Open one run after the other, once it is known that all of them can be.

    Args:
        runs: the translators.
        split: whose clips they are asked about; each must have a text.
        device: where they compute.
        clips: as many of them, spread over the split; None: all.

    Raises:
        SltError: a run is no translator or is named twice; the split is unknown, or has too few clips.
    """
    names = names_of(runs)
    asked = []
    for run in runs:
        trained_translator(run.folder)
        asked.append(load_clips(run.recipe.corpus.manifest, split, needs=["text"]))
        _require_enough(len(asked[-1]), split)
    _tell_of_other_clips(runs, asked, split)
    for name, run in zip(names, runs, strict=True):
        systems = Systems(run.recipe, pick_device(device), run.folder)
        features = systems.with_texts(split)
        if clips is not None and clips < len(features):
            spread = [features.clips[i * len(features) // clips] for i in range(clips)]
            features = FeatureDataset(features.store, features.stream, spread, features.labels)
        _require_enough(len(features), split)
        yield Opened(name, systems, features)


def _tell_of_other_clips(runs: Sequence[Run], asked: Sequence[Sequence[Clip]], split: str) -> None:
    """Say which runs have other clips than the first one: their rows are of other texts."""
    first, *others = [{(clip.id, clip.text) for clip in clips} for clips in asked]
    for run, own in zip(runs[1:], others, strict=True):
        if own != first:
            log.warning(
                "%s is asked about %d clips of %s (%s), %s about %d (%s), not all the same: their rows do not compare",
                *(run.folder, len(own), split, run.recipe.corpus.manifest),
                *(runs[0].folder, len(first), runs[0].recipe.corpus.manifest),
            )


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return each run's name: its recipe's, and its folder's where that is a sweep's; its path where two are alike.

    Raises:
        SltError: a folder is named twice.
    """
    folders = Counter(run.folder.resolve() for run in runs)
    if doubled := [run.folder for run in runs if folders[run.folder.resolve()] > 1]:
        raise SltError(f"{doubled[0]} is named twice; name each run once")
    names = [run.recipe.name + (f" {_short(run.folder.name)}" if run.folder.name != _OWN else "") for run in runs]
    alike = Counter(names)
    return [name if alike[name] == 1 else str(run.folder) for name, run in zip(names, runs, strict=True)]


def _short(folder: str) -> str:
    """Return the name of a sweep's run without the sections of its keys: `objective.output_kl.to=2 seed=1`."""
    return folder.replace("translate_train.", "").replace("translator.", "").replace("_seed=", " seed=")


def report_folder(runs: Sequence[Run], analysis: str, out: Path | None) -> Path:
    """Return where an analysis is written: into its run; beside all runs, a folder for each set of them; or `out`."""
    if out or len(runs) == 1:
        return out or runs[0].folder / "report" / analysis
    return folder_of(_of_several(runs, analysis), [run.folder for run in runs])


def begin_report(runs: Sequence[Run], analysis: str, out: Path | None) -> Path:
    """Return the same folder, which says of several runs which they are."""
    if out or len(runs) == 1:
        return report_folder(runs, analysis, out)
    return begin_folder(_of_several(runs, analysis), [run.folder for run in runs])


def _of_several(runs: Sequence[Run], analysis: str) -> Path:
    return Path(runs[0].recipe.runs_dir) / "report" / analysis


def reads(run: Run) -> dict[str, Path | str | None]:
    """Return what an analysis reads of a run: for a plan."""
    return {
        "clips": run.recipe.corpus.manifest,
        "store": run.recipe.store,
        "encoder": run.recipe.encoder_folder,
        "translator": run.folder,
    }


def _require_enough(number: int, split: str) -> None:
    if number < FEWEST:
        raise SltError(
            f"{number} clip of split {split} is compared with nothing; take {FEWEST} or more (--split, --clips)"
        )
