"""A stream of a feature store held on an accelerator. B clips, T steps, D width, S steps of the store."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import torch

from cache import FeatureStore
from slt_pipeline.errors import SltError

_PIECE = 1 << 26
"""Bytes that are read before they are sent to the device."""


class DeviceFeatures:
    """What `FeatureStore.read_batch` gives, as tensors on a device: all clips gathered at once, there.

    held: (S + 1, D), the clips one after the other, and a last row of zeros, which is what padding is gathered from.
    """

    def __init__(self, store: FeatureStore, stream: str, device: torch.device):
        """Read a stream whole.

        Raises:
            SltError: it does not fit, with both sizes, before anything is read; or torch cannot use the device.
        """
        self._path, spec = store.path, store.streams[stream]
        lengths = {clip: store.length(clip) for clip in store}
        firsts = np.cumsum([0, *lengths.values()])
        self._places = {
            clip: (int(first), length) for (clip, length), first in zip(lengths.items(), firsts[:-1], strict=True)
        }
        steps = int(firsts[-1])
        _require_room(stream, store, steps * spec.row_bytes, device)
        self.held = _made_on(device, (steps + 1, spec.dim), getattr(torch, spec.dtype))
        done, waiting, num_bytes = 0, [], 0
        for clip in lengths:
            waiting.append(store.read(clip, stream))
            num_bytes += waiting[-1].nbytes
            if num_bytes >= _PIECE:
                done, waiting, num_bytes = self._send(done, waiting), [], 0
        self._send(done, waiting)

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the clips padded with zeros (B, T, D), and their lengths (B,) int64.

        Raises:
            SltError: the store did not have one of them when the stream was read.
        """
        places = [self._places[clip] if clip in self._places else self._lacks(clip) for clip in clip_ids]
        numbers = torch.tensor(places, dtype=torch.int64).reshape(-1, 2)
        longest = int(numbers[:, 1].max()) if places else 0
        firsts, lengths = numbers.to(self.held.device).unbind(1)
        steps = torch.arange(longest, device=self.held.device)
        rows = torch.where(steps < lengths[:, None], firsts[:, None] + steps, len(self.held) - 1)
        return self.held[rows], lengths

    def _send(self, done: int, clips: list[np.ndarray]) -> int:
        """Put clips (T, D) behind the `done` rows that are there; return the rows that are there then."""
        if clips:
            rows = torch.from_numpy(np.concatenate(clips))
            self.held[done : done + len(rows)].copy_(rows)
            done += len(rows)
        return done

    def _lacks(self, clip: str) -> NoReturn:
        raise SltError(f"clip {clip} is not among the {len(self._places)} clips of {self._path} that are held")


def _made_on(device: torch.device, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    try:
        return torch.zeros(shape, dtype=dtype, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # all of which torch says of devices that are not there
        why = str(error).partition("\n")[0]
        raise SltError(
            f"cannot hold features on device {device} ({why}): use translate_train.features_in=files"
        ) from None


def _require_room(stream: str, store: FeatureStore, needed: int, device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.is_available():
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + unused
        if needed > free:
            raise SltError(
                f"stream {stream} of {store.path} takes {needed >> 20} MiB, {free >> 20} MiB are free in {device}: "
                "use translate_train.features_in=files"
            )
