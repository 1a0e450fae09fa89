"""Clips as training items: features from the store, glosses and text.

B clips, T steps, D width of the stream, L glosses, N pieces.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence

import torch
from torch.utils.data import Dataset

from cache import FeatureStore
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError


class FeatureDataset(Dataset):
    """Batches by (epoch, index): one positional read into one padded array, without per-clip work in Python.

    **Raises:** SltError if the store lacks the stream or some of the clips, StoreError if clips have changed since they
    were stored; before any work.
    """

    def __init__(
        self,
        store: FeatureStore,
        stream: str,
        clips: Sequence[Clip],
        encode: Callable[[Sequence[Clip]], dict[str, torch.Tensor]],
    ):
        require_stream(stream, store.streams)
        require_clips(store, clips)
        self.store, self.stream, self.clips, self.encode = store, stream, list(clips), encode

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        return self.batch([self.clips[index] for _, index in keys])

    def batch(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """`features (B,T,D)` float32, zero beyond `lengths (B,)`, and what `encode` makes of the clips' labels."""
        features, lengths = self.store.read_batch([clip.id for clip in clips], self.stream)
        return {
            "features": torch.as_tensor(features).float(),  # a tensor already where the store is resident on a device
            "lengths": torch.as_tensor(lengths),
            **self.encode(clips),
        }


def require_stream(stream: str, streams: Collection[str]) -> None:
    """Raise SltError if a store's `streams` lack the one that is needed."""
    if stream not in streams:
        raise SltError(
            f"the store has no stream {stream}, only {', '.join(streams)}; "
            f"make one that has it with `slt extract --streams {stream},...`"
        )


def require_clips(store: FeatureStore, clips: Sequence[Clip]) -> None:
    """Raise SltError if some of the clips are not in the store, StoreError if they have changed since they were."""
    missing = [clip for clip in clips if clip.id not in store]
    if missing:
        raise SltError(
            f"the store lacks {len(missing)} of {len(clips)} clips, such as {missing[0].id}; "
            f"add them with `slt extract --split {missing[0].split}`"
        )
    store.require_sources({clip.id: clip_source(clip) for clip in clips})


def clip_source(clip: Clip) -> str:
    """What a clip's features were made from, as the store remembers it: a manifest may grow, a clip may not change."""
    made_from = json.dumps([clip.video, clip.num_frames, clip.fps], ensure_ascii=False)
    return hashlib.sha256(made_from.encode()).hexdigest()[:16]


class LabelDataset(Dataset):
    """Batches of labels alone, by (epoch, index): what Gloss2Text trains on."""

    def __init__(self, clips: Sequence[Clip], encode: Callable[[Sequence[Clip]], dict[str, torch.Tensor]]):
        self.clips, self.encode = list(clips), encode

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        return self.encode([self.clips[index] for _, index in keys])


def as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Collate function of data sets that make whole batches."""
    return batch
