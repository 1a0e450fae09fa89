"""The clips of a recipe and how they are scored."""

from slt_pipeline.config.base import Config


class CorpusConfig(Config):
    """Where the clips are listed, in which language, and by which rules they are scored."""

    manifest: str
    """JSON Lines file of the continuous clips, all splits."""
    media_root: str | None = None
    """Folder that the video references of the manifest are relative to; none of them may lead out of it. None: the
    manifest's own folder."""
    isolated_manifest: str | None = None
    """JSON Lines file of isolated signs (one gloss a clip) for pre-training, or None."""
    isolated_media_root: str | None = None
    """The same as `media_root`, for `isolated_manifest`."""
    protocol: str = "plain-word"
    """How glosses and texts are scored, a name of metrics/protocols.py: `phoenix14t`, `csl-daily`,
    `csl-daily-halfwidth`, `plain-word` or `plain-char`. It fixes the unit of BLEU and ROUGE, the gloss clean-up and
    casing before WER, and the normalisation of text, so that a score says what it can be compared with."""
