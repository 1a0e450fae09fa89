"""What `slt cache` must know of a recipe to care for its store: the encoder, the manifest.

T steps, D width of a stream.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache import FeatureStore
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.features import has_changed, require_clips
from slt_pipeline.corpora.load import load_clips, media_root
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.systems.features import encodable, require_features_of
from slt_pipeline.systems.recogniser import open_recogniser
from slt_pipeline.training.devices import pick_device

TOLERANCE = 1e-5
"""Part of a stream's largest number in a clip by which features that are made again may miss what rounds to those in
the store. Measured on the demo's encoder, float32: 4e-7 with another number of threads, 2e-6 with other CPU
instructions; a store of float16 is mostly equal in every bit even so."""


@dataclass(slots=True)
class StreamSample:
    """How the features of one stream, made again, compare with those of the store."""

    largest_difference: float = 0.0
    """Of any number of any clip, after rounding as the store does."""
    largest_value: float = 0.0
    """Of the store, for comparison."""
    num_equal: int = 0
    """Clips that are equal in every bit."""
    differing: list[str] = field(default_factory=list)
    """Clips beyond the tolerance."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What came of encoding clips of a store again."""

    clips: list[str]
    """Those that were drawn."""
    streams: dict[str, StreamSample]
    not_compared: dict[str, str]
    """Clip -> why it could not be encoded again, or not in the same way."""

    @property
    def ok(self) -> bool:
        """Whether every clip was compared, and none differs."""
        return not self.not_compared and not any(stream.differing for stream in self.streams.values())


class Sampler:
    """Encodes clips of a store again."""

    def __init__(self, recipe: Recipe, path: str | Path, *, device: str = "auto"):
        """Load the recipe's encoder and open the store.

        Raises:
            SltError: there is no encoder or no manifest, or the store was made by something else.
        """
        self.recipe = recipe
        self.recogniser = open_recogniser(recipe, pick_device(device))
        self.store = FeatureStore.open(path)
        require_features_of(self.store, recipe, self.recogniser.checkpoint)
        self.clips = {clip.id: clip for clip in read_manifest(recipe.corpus.manifest)}

    def run(
        self,
        num_clips: int,
        *,
        seed: int = 0,
        tolerance: float = TOLERANCE,
        progress: Callable[[Iterable[str]], Iterable[str]] = iter,
    ) -> Sample:
        """Encode `num_clips` clips, drawn at random from the store, and compare every stream.

        The same seed draws the same clips from the same set of clips, in whatever order they are stored.
        """
        drawn = random.Random(seed).sample(sorted(self.store), min(num_clips, len(self.store)))
        sample = Sample(drawn, {name: StreamSample() for name in self.store.streams}, {})
        for clip_id in progress(drawn):
            try:
                made_again = self._encode(clip_id)
            except SltError as error:
                sample.not_compared[clip_id] = str(error)
                continue
            for name, stream in sample.streams.items():
                self._compare(clip_id, name, made_again[name], tolerance, stream)
        return sample

    def _encode(self, clip_id: str) -> dict[str, np.ndarray]:
        clip = self.clips.get(clip_id)
        manifest = self.recipe.corpus.manifest
        if clip is None:
            raise SltError(f"it is not in {manifest}")
        root = media_root(self.recipe.corpus)
        if has_changed(self.store, clip):
            raise SltError(f"it has changed in {manifest} since its features were made")
        if has_changed(self.store, clip, root):
            raise SltError("its video is another than the one that its features were made of")
        streams = self.recogniser.encode_clip(clip, root)
        return {name: streams[name].float().cpu().numpy() for name in self.store.streams}

    def _compare(self, clip_id: str, name: str, new: np.ndarray, tolerance: float, stream: StreamSample) -> None:
        """Compare (T, D) float32 with what is stored.

        A number that lies between two steps of the store's rounding is sent to either of them by the slightest noise.
        So it is not the rounded numbers that must be near each other: the new one, before it is rounded, must be as
        near as rounding puts it.
        """
        old = self.store.read(clip_id, name)
        if old.shape != new.shape:
            stream.differing.append(clip_id)
            stream.largest_difference = float("inf")
            return
        # A store of float32 may be the copy of one of float16.
        dtype = min(old.dtype, np.dtype(self.recipe.extract.dtype), key=lambda dtype: dtype.itemsize)
        compression, bits = self.store.compression, np.finfo(dtype).nmant
        with np.errstate(over="ignore", invalid="ignore"):  # numbers too large for the type, and infinite ones, differ
            rounded, step = new.astype(dtype), _spacing(old, dtype)
            rounding = step / 2
            if compression and compression.keep_bits and compression.keep_bits < bits:
                compression.round(rounded)
                rounding += step * 2.0 ** (bits - compression.keep_bits) / 2
            difference, largest = np.abs(rounded.astype(np.float64) - old), float(np.abs(old).max())
            near = np.abs(new.astype(np.float64) - old) <= rounding + tolerance * largest
        stream.largest_difference = float(np.maximum(stream.largest_difference, difference.max()))  # NaN if it is
        stream.largest_value = float(np.maximum(stream.largest_value, largest))
        stream.num_equal += not difference.any()
        if not (np.isfinite(largest) and near.all()):
            stream.differing.append(clip_id)


def _spacing(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """How far neighbours of type `dtype` are apart around these numbers, float64.

    `np.spacing` says inf at the largest number of float16, because the neighbour is: anything would be near it.
    """
    info = np.finfo(dtype)
    _, exponents = np.frexp(numbers.astype(np.float64))  # of fractions from 0.5 to 1
    return np.ldexp(1.0, np.maximum(exponents - 1, info.minexp) - info.nmant)


@dataclass(frozen=True, slots=True)
class Unused:
    """Clips of a store that its recipe has no use for."""

    gone: list[str]
    """Not in the manifest."""
    changed: list[str]
    """In the manifest, but made from something else than it names now."""


def unused_clips(recipe: Recipe, store: FeatureStore) -> Unused:
    """The clips of a store that the recipe's manifest does not have, or has in another version.

    Raises:
        SltError: the manifest has none of them, which says that it is not the store's.
    """
    clips = {clip.id: clip for clip in read_manifest(recipe.corpus.manifest)}
    gone = [clip_id for clip_id in store if clip_id not in clips]
    if gone and len(gone) == len(store):
        raise SltError(
            f"{recipe.corpus.manifest} has none of the {len(store)} clips of {store.path}, so it is not its manifest: "
            "name the right recipe with -r, or remove the whole store"
        )
    root = media_root(recipe.corpus)
    changed = [clip_id for clip_id in store if clip_id in clips and has_changed(store, clips[clip_id], root)]
    return Unused(gone, changed)


def split_clips(recipe: Recipe, store: FeatureStore, split: str) -> list[str]:
    """The clips of a split, without those that extraction rejected, which are counted in a warning.

    Raises:
        SltError: others are not in the store, or have changed since they were stored.
    """
    clips = encodable(recipe, store, load_clips(recipe.corpus.manifest, split))
    require_clips(store, clips)
    return [clip.id for clip in clips]
