"""The clips of a recipe and how they are scored."""

from typing import Any

from pydantic import field_validator

from slt_pipeline.config.base import Config
from slt_pipeline.config.names import PROTOCOL_ALIASES, ProtocolName
from slt_pipeline.config.paths import Location


class CorpusConfig(Config):
    """Where the clips are listed, in which language, and by which rules they are scored."""

    manifest: Location
    """JSON Lines file of the continuous clips, all splits. As in every path of a recipe, `{runs_dir}` stands for
    `runs_dir`; braces of a name are written twice."""
    media_root: Location | None = None
    """Folder that the video references of the manifest are relative to; none of them may lead out of it. None: the
    manifest's own folder."""
    isolated_manifest: Location | None = None
    """JSON Lines file of isolated signs (one gloss a clip) for pre-training, or None."""
    isolated_media_root: Location | None = None
    """The same as `media_root`, for `isolated_manifest`."""
    protocol: ProtocolName = "plain-word"
    """How glosses and texts are scored (metrics/README.md). It fixes the unit of BLEU and ROUGE, the gloss clean-up and
    casing before WER, and the normalisation of text, so that a score says what it can be compared with."""

    @field_validator("protocol", mode="before")
    @classmethod
    def _own_name(cls, value: Any) -> Any:
        return PROTOCOL_ALIASES.get(value, value) if isinstance(value, str) else value
