"""What a run folder holds, told by the files that lie in it: an encoder, a translator, or both."""

from pathlib import Path

FRAMES_FILE = "frames.json"
"""Size and rate of the frames of an encoder: visual-train and joint-train write it."""
SIGNS_FILE = "signs.json"
"""Isolated signs, by class: visual-pretrain writes it."""
STREAMS_FILE = "streams.json"
"""Width of each stream that a translator of signs may read: translate-train and joint-train write it."""
GLOSS_INPUTS_FILE = "gloss_inputs.json"
"""Rows of the gloss table: gloss2text-train writes it, and what starts from that."""

SWEEP_FILE = "sweep.json"
"""What a sweep has run, and with which weights: it lies beside the folders of its runs."""


def holds_encoder(folder: Path) -> bool:
    """Return whether a run has a visual encoder."""
    return (folder / FRAMES_FILE).is_file()


def holds_translator(folder: Path) -> bool:
    """Return whether a run has a translator of signs."""
    return (folder / STREAMS_FILE).is_file()


def holds_language_model(folder: Path) -> bool:
    """Return whether a run is one of Gloss2Text."""
    return (folder / GLOSS_INPUTS_FILE).is_file() and not holds_translator(folder)
