"""What commands read of a corpus: the clips of a split, where their media lie, and which media they are."""

from collections.abc import Sequence
from pathlib import Path

from slt_pipeline.config.corpus import CorpusConfig
from slt_pipeline.config.provenance import ABSENT
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.files import text_hash
from slt_pipeline.text.characters import has_something_to_read
from slt_pipeline.video.identity import media_identity


def load_clips(manifest: str | Path, split: str, *, needs: Sequence[str] = ()) -> list[Clip]:
    """Read the clips of a split, in the order of the manifest.

    Args:
        manifest: JSON Lines file.
        split: `train`, `dev`, `test` or another that the manifest has.
        needs: fields (`gloss`, `text`) that every clip must have.

    Raises:
        SltError: there is no clip, or one without such a field.
    """
    clips = read_manifest(manifest, split)
    if not clips:
        raise SltError(f"{manifest} has no clips of split {split}")
    for field in needs:
        bare = [clip.id for clip in clips if not _has(clip, field)]
        if bare:
            raise SltError(
                f"{manifest}: {len(bare)} {split} clips have no {field}, such as {bare[0]}; this stage needs it"
            )
    return clips


def _has(clip: Clip, field: str) -> bool:
    """Return whether a clip has a field; a text of zero-width characters alone is none."""
    value = getattr(clip, field)
    return has_something_to_read(value) if isinstance(value, str) else bool(value)


def media_root(corpus: CorpusConfig) -> Path:
    """Return the folder that the manifest's video references are relative to."""
    return Path(corpus.media_root or Path(corpus.manifest).parent)


def media_digest(clips: Sequence[Clip], root: Path) -> str:
    """Return one hash of the media of all clips: another file under the same name, or another media root, changes it.

    `ABSENT` where none of them is there.
    """
    identities = [media_identity(clip.video, root) for clip in clips]
    if all(identity == ABSENT for identity in identities):
        return ABSENT
    parts = [_part(clip) for clip in clips]
    return text_hash(
        "".join(f"{clip.id}\0{part}\0{name}\n" for clip, part, name in zip(clips, parts, identities, strict=True))
    )


def _part(clip: Clip) -> str:
    if clip.start is not None or clip.end is not None:
        return f"{clip.video}\0{clip.start} s to {clip.end} s"
    return clip.video if clip.frames is None else f"{clip.video}\0{clip.frames}"
