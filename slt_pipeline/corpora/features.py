"""Clips as training items: features from the store, and labels. B clips, S steps, D width of the stream."""

import hashlib
import json
from collections.abc import Collection, Sequence
from copy import copy
from pathlib import Path

import torch
from torch.utils.data import Dataset

from cache import FeatureStore
from slt_pipeline.config.provenance import ABSENT
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.device_features import DeviceFeatures
from slt_pipeline.corpora.labels import Labeller, padding_of
from slt_pipeline.corpora.padding import Padding, filled
from slt_pipeline.errors import SltError
from slt_pipeline.video.identity import media_identity


class FeatureDataset(Dataset):
    """Batches by (epoch, index): one positional read into one padded array, without per-clip work in Python."""

    def __init__(
        self,
        store: FeatureStore,
        stream: str,
        clips: Sequence[Clip],
        labels: Labeller,
        device: torch.device | None = None,
    ):
        """Take a store, the stream to read and the clips, in the order of their indices.

        Args:
            store: holds them.
            stream: which of its streams is read.
            clips: in the order of their indices.
            labels: what else belongs to a batch.
            device: where the whole stream is held from now on; None: it is read as the store was opened.

        Raises:
            SltError: the store lacks the stream or some of the clips, or clips have changed since they were stored.
        """
        require_stream(stream, store.streams)
        require_clips(store, clips)
        self.store, self.stream, self.clips, self.labels = store, stream, list(clips), labels
        self._held = None if device is None else DeviceFeatures(store, stream, device)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        return self.batch([self.clips[index] for _, index in keys])

    def of(self, clips: Sequence[Clip]) -> "FeatureDataset":
        """Return the same of some of its clips."""
        part = copy(self)
        part.clips = list(clips)
        return part

    def batch(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Return `features (B, S, D)` float32, zero beyond `lengths (B,)`, and what the labeller makes of the clips."""
        features, lengths = self.read(clips)
        return {"features": features, "lengths": lengths, **self.labels(clips)}

    def read(self, clips: Sequence[Clip]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features alone, (B, S, D) float32, zero beyond the lengths (B,)."""
        names = [clip.id for clip in clips]
        if self._held is not None:
            features, lengths = self._held.read_batch(names)
            return features.float(), lengths
        features, lengths = self.store.read_batch(names, self.stream)
        return torch.from_numpy(features).float(), torch.from_numpy(lengths)

    @property
    def padding(self) -> dict[str, Padding]:
        """How the tensors of a batch are padded."""
        return {"features": filled(1, 0.0), **padding_of(self.labels)}

    def length(self, clip: Clip) -> int:
        """Return the steps that `read` gives of a clip."""
        return self.store.length(clip.id)


def require_stream(stream: str, streams: Collection[str]) -> None:
    """Require a stream.

    Raises:
        SltError: `streams`, those of a store, lack it.
    """
    if stream not in streams:
        raise SltError(
            f"the store has no stream {stream}, only {', '.join(streams)}; "
            f"make one that has it with `slt extract --streams {stream},...`"
        )


def require_clips(store: FeatureStore, clips: Sequence[Clip]) -> None:
    """Require clips as the manifest has them now; their media need not be there.

    Raises:
        SltError: some of them are not in the store, or have changed since they were stored.
    """
    missing = [clip for clip in clips if clip.id not in store]
    if missing:
        raise SltError(
            f"the store lacks {len(missing)} of {len(clips)} clips, such as {missing[0].id}; "
            f"add them with `slt extract --split {missing[0].split}`"
        )
    require_unchanged(store, clips)


def require_unchanged(store: FeatureStore, clips: Sequence[Clip], root: Path | None = None) -> None:
    """Require that those of the clips that a store has are what they were when they were stored.

    Args:
        store: of their features.
        clips: as the manifest has them now; those that are not in the store are no error.
        root: media root, to look at the media too; None: they need not be there.

    Raises:
        SltError: clips have changed, or their media have.
    """
    changed = [clip.id for clip in clips if clip.id in store and has_changed(store, clip, root)]
    if changed:
        names = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise SltError(
            f"{len(changed)} clips have changed since they were put into {store.path}: {names}; drop them with "
            f"`slt cache rm {store.path} --unused -r RECIPE` and extract again, or give changed clips new ids"
        )


def has_changed(store: FeatureStore, clip: Clip, root: Path | None = None) -> bool:
    """Say whether a clip of a store was made from something else than the manifest, or the media root, has now.

    A clip that an earlier version stored does not say which media it was made from, nor does one whose media are away.
    """
    stored = store.source(clip.id)
    if stored is None:
        return False
    named, _, media = stored.partition(":")
    if named != _named(clip):
        return True
    if root is None or media in ("", ABSENT):
        return False
    return media_identity(clip.video, root) not in (media, ABSENT)


def clip_source(clip: Clip, root: Path) -> str:
    """Return what a clip's features are made from: what the manifest says of it, and the content of its media.

    A manifest may grow, a clip that is in the store may not change.
    """
    return f"{_named(clip)}:{media_identity(clip.video, root)}"


def _named(clip: Clip) -> str:
    span = [] if clip.start is None and clip.end is None else [{"start": clip.start, "end": clip.end}]
    made_from = json.dumps([clip.video, clip.num_frames, clip.fps, *(clip.frames or span)], ensure_ascii=False)
    return hashlib.sha256(made_from.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the batch: the collate function of data sets that make whole batches."""
    return batch
