"""Runs that stand beside another one, and may have learned the clips by which that one is measured."""

import logging
from collections.abc import Sequence
from pathlib import Path

from slt_pipeline.files import read_json
from slt_pipeline.training.run import INPUTS

log = logging.getLogger(__name__)


def tell_of_other_clips(first: Path, others: Sequence[Path], clips: str | None = None) -> None:
    """Say which runs were trained on another manifest than the first: one may know what is scored.

    Args:
        first: folder of a run.
        others: folders of those that write with it, judge or teach it.
        clips: hash of the manifest of the first, if it is not trained yet.
    """
    clips = clips or read_json(first / INPUTS, dict).get("clips")
    for run in others:
        if read_json(run / INPUTS, dict).get("clips") != clips:
            log.warning("%s was trained on another manifest than %s: it may know the clips of this one", run, first)
