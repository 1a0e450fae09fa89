"""What stages read of a corpus."""

from collections.abc import Sequence
from pathlib import Path

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.errors import SltError


def load_clips(
    recipe: Recipe, split: str, *, needs: Sequence[str] = (), manifest: str | Path | None = None
) -> list[Clip]:
    """Clips of a split in the order of the manifest.

    **Arguments:** `needs`: fields (`gloss`, `text`) that every clip must have.

    **Raises:** SltError if there is no clip, or one without such a field.
    """
    path = Path(manifest or recipe.corpus.manifest)
    clips = read_manifest(path, split)
    if not clips:
        raise SltError(f"{path} has no clips of split {split}")
    for field in needs:
        bare = [clip.id for clip in clips if not getattr(clip, field)]
        if bare:
            raise SltError(f"{path}: {len(bare)} {split} clips have no {field}, such as {bare[0]}; this stage needs it")
    return clips


def media_root(recipe: Recipe) -> Path:
    """Folder that the manifest's video references are relative to."""
    return Path(recipe.corpus.media_root or Path(recipe.corpus.manifest).parent)
