"""Writing: a shard is filled in memory and committed whole.

D: width of a stream. T: steps of a clip.
"""

import contextlib
import re
import uuid
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from cache.backends import backend_of
from cache.compression import Compression
from cache.errors import StoreError
from cache.header import Header
from cache.index import FOLDER, TEMPORARY, Claim, Index, claim_path, give_up, record_path
from cache.places.base import Files
from cache.provenance import is_text
from cache.record import Extent, Record
from cache.seal import hex_crc32

_OURS = re.compile(r"(?:[0-9]{8,10}\.)?[0-9a-f]{32}(?:\.|$)")  # the names of our temporary files
ABANDONED = 24 * 3600.0  # seconds after which a temporary file, which lives for one commit, has no owner any more


class Writer:
    """Takes clips one by one; a shard that is full, and the last one on leaving the `with` block, is committed.

    Any number of processes may write to one store at once, each with a writer of its own and clips of its own.
    """

    def __init__(self, files: Files, header: Header, index: Index) -> None:
        self._files, self._header, self._index = files, header, index
        self._steps, specs = header.shard_steps, header.streams.items()
        try:
            self._buffers = {name: np.empty((self._steps, spec.dim), spec.numpy_dtype) for name, spec in specs}
        except (MemoryError, ValueError) as error:
            raise StoreError(
                f"a shard of {self._steps} steps does not fit into memory: make a store of a smaller shard_steps"
            ) from error
        self.replaces: list[int] = []  # shards whose place the next one takes: for `cache.care.repair` only
        self._clear()
        with contextlib.suppress(OSError):  # if nobody may look, others will
            for name in filter(_OURS.match, files.names(TEMPORARY)):
                if files.age(f"{TEMPORARY}/{name}") > ABANDONED:
                    files.remove(f"{TEMPORARY}/{name}")

    def write(self, clip_id: str, features: Mapping[str, np.ndarray], *, source: str | None = None) -> None:
        """Add a clip: for every stream of the store an array (T, D), the same T in all of them.

        float32 given to a float16 stream is rounded, float16 given to a float32 stream is widened.

        Args:
            clip_id: its key; written once, for good.
            features: stream name -> array (T, D), float16 or float32.
            source: what the clip was made from, a hash say, to tell later whether that has changed.

        Raises:
            StoreError: naming the clip, if it is there already, empty, longer than a shard, not finite, or of another
                width or dtype; or if the disk refuses the shard that this clip completes.
        """
        where = f"clip {clip_id!r}"
        if not isinstance(clip_id, str) or not clip_id or not is_text(clip_id):
            raise StoreError(f"{where}: a clip id is a text that is not empty, in Unicode")
        if source is not None and (not isinstance(source, str) or not is_text(source)):
            raise StoreError(f"{where}: its source {source!r} is not a text in Unicode")
        if clip_id in self._pending or self._is_there(clip_id):
            raise StoreError(
                f"{where} is already in {self._files.root}: keys are written once; skip it or use a new store"
            )
        arrays = self._checked(where, features)
        length = len(next(iter(arrays.values())))
        if self._used + length > self._steps:
            self.commit()
        checksums: dict[str, str] = {}
        for name, array in arrays.items():
            out = self._buffers[name][self._used : self._used + length]
            _copy_finite(where, name, array, out, self._header.compression)
            checksums[name] = hex_crc32(out)  # while the processor has them at hand
        for name, checksum in checksums.items():
            self._checksums[name].append(checksum)
        self._pending[clip_id] = None
        self._sources.append(source)
        self._rows.append(self._used)
        self._lengths.append(length)
        self._used += length
        if self._used == self._steps:
            self.commit()

    def commit(self) -> None:
        """Make everything written so far part of the store, as a shard of its own, full or not."""
        if not self._pending:
            return
        try:
            self._commit()
        except StoreError:
            self._clear()
            raise
        except OSError as error:
            if self.replaces:
                raise  # which is worded by who replaces
            with contextlib.suppress(OSError, StoreError):  # what failed may have come after the commit itself
                self._index.refresh()
            missing = sum(not self._is_there(clip) for clip in self._pending)
            if not missing:
                self._clear()
            raise StoreError(
                f"cannot write to {self._files.root}: {error.strerror or error}: what was committed before is intact "
                f"({len(self._index.places)} clips), {missing} clips are not; fix that and run again"
            ) from error
        self._clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.commit()
        else:
            self._clear()

    def _commit(self) -> None:
        files, index = self._files, self._index
        index.news()
        for clip in filter(self._is_there, self._pending):
            raise StoreError(
                f"clip {clip!r} was written to {files.root} by another process meanwhile, so the {len(self._pending)} "
                "clips of this shard are given up: give every writer its own clips"
            )
        while not self._commit_as(index.claim()):
            pass

    def _commit_as(self, claim: Claim) -> bool:
        """Commit under this number; False if it was given to somebody before, whose claim a power cut has taken."""
        files, index, backend = self._files, self._index, backend_of(self._header)
        temporary = f"{TEMPORARY}/{claim.shard:08d}.{uuid.uuid4().hex}"
        made, done = list[str](), False
        try:
            arrays = {name: buffer[: self._used] for name, buffer in self._buffers.items()}
            extents, new = backend.files_of(self._header, claim.shard, arrays)
            record = self._record(claim.shard, extents, {file.path: file.facts for file in new})
            document = [record.to_bytes()]
            parts = {f"{temporary}.{number}": file.parts for number, file in enumerate(new)}
            parts |= {f"{temporary}.copy": document, f"{temporary}.record": document}
            files.write_each(parts, FOLDER)
            index.require_mine(claim)
            for source, target in zip(parts, [*(file.path for file in new), record.copy_path], strict=False):
                try:
                    files.rename_new(source, target)
                except FileExistsError:
                    return False
                made.append(target)
            backend.publish(files, self._header, index, temporary, claim.shard)
            for folder in sorted({path.rpartition("/")[0] for path in made}):
                files.sync(folder)
            index.commit(record, claim, f"{temporary}.record")
            if not self.replaces:
                index.require_alone(record)
            done = True
        except OSError:
            index.require_mine(claim)  # or that is why
            raise
        finally:
            with contextlib.suppress(OSError, StoreError):  # what cannot be removed now does no harm
                files.remove(claim_path(claim.shard)) if done else self._clean_up(claim.shard, temporary, made)
        return True

    def _record(self, shard: int, extents: dict[str, Extent], files: dict[str, dict[str, Any]]) -> Record:
        return Record(
            shard=shard,
            steps=self._used,
            clips=list(self._pending),
            rows=list(self._rows),
            lengths=list(self._lengths),
            sources=list(self._sources),
            checksums={name: list(checksums) for name, checksums in self._checksums.items()},
            replaces=self._index.all_replaced(self.replaces),
            store=self._header.id,
            extents=extents,
            files=files,
        )

    def _is_there(self, clip_id: str) -> bool:
        return clip_id in self._index.places and not self.replaces

    def _clean_up(self, shard: int, temporary: str, made: list[str]) -> None:
        """Remove what is ours and of no use any more, after a commit that failed."""
        for name in self._files.names(TEMPORARY):
            if f"{TEMPORARY}/{name}".startswith(temporary):
                self._files.remove(f"{TEMPORARY}/{name}")
        self._index.require_same_store()  # or what lies there under our names is that of others
        if self._files.exists(record_path(shard)):
            self._files.remove(claim_path(shard))
            return
        for path in made:
            self._files.remove(path)
        give_up(self._files, [shard])

    def _checked(self, where: str, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays (T, D) of a clip, which fit the streams, and into a shard."""
        streams = self._header.streams
        if features.keys() != streams.keys():
            raise StoreError(
                f"{where} has the streams {sorted(features)}, the store has {sorted(streams)}: write them all"
            )
        arrays = {}
        for name, spec in streams.items():
            arrays[name] = array = _plain(where, name, features[name])
            if array.ndim != 2 or array.shape[1] != spec.dim:
                raise StoreError(f"{where}, stream {name!r} has shape {array.shape}, (steps, {spec.dim}) is needed")
            if array.dtype not in _FLOATS:
                raise StoreError(
                    f"{where}, stream {name!r} has dtype {array.dtype}, the store has {spec.dtype}: "
                    "give float16 or float32"
                )
        lengths = {name: len(array) for name, array in arrays.items()}
        length = next(iter(lengths.values()))
        if len(set(lengths.values())) > 1:
            raise StoreError(f"{where} has streams of different lengths, {lengths}: all need the same number of steps")
        if length == 0:
            raise StoreError(f"{where} is empty (0 steps): leave it out")
        if length > self._steps:
            raise StoreError(
                f"{where} has {length} steps, a shard holds {self._steps} and clips are never split: "
                f"make the store with shard_steps={length} or more"
            )
        return arrays

    def _clear(self) -> None:
        self._used = 0
        self._pending: dict[str, None] = {}
        self._rows: list[int] = []
        self._lengths: list[int] = []
        self._sources: list[str | None] = []
        self._checksums: dict[str, list[str]] = {name: [] for name in self._header.streams}


def _plain(where: str, stream: str, array: np.ndarray) -> np.ndarray:
    if type(array) is np.ndarray:
        return array
    if isinstance(array, np.ma.MaskedArray):
        raise StoreError(
            f"{where}, stream {stream!r} has a mask, which a store cannot keep: fill the masked numbers in, or cut "
            "them out"
        )
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StoreError(f"{where}, stream {stream!r} is no array of (steps, width): {error}") from error


def _copy_finite(where: str, stream: str, array: np.ndarray, out: np.ndarray, compression: Compression | None) -> None:
    """Copy (T, D) into `out`, rounding or widening. Raises StoreError if any number in `out` is not finite."""
    if array.dtype == out.dtype:
        out[...] = array
    else:
        with np.errstate(over="ignore"):  # said below, with the clip's name
            out[...] = array
    if compression:
        compression.round(out)
    if not _all_finite(out):
        step, feature = np.argwhere(~np.isfinite(out))[0]
        value = array[step, feature]
        rounded = f" rounded to {compression.keep_bits} bits" if compression and compression.keep_bits else ""
        reason = f"does not fit into {out.dtype.name}{rounded}" if np.isfinite(value) else "is not finite"
        raise StoreError(
            f"{where}, stream {stream!r}: {value} at step {step}, feature {feature} {reason}: "
            "nothing of the clip was written"
        )


def _all_finite(array: np.ndarray) -> bool:
    """Say whether no number is NaN or infinite, that is, has all bits of its exponent set.

    Such numbers are the largest integers of their sign, so two maxima tell: thirty times as fast as np.isfinite for
    float16.
    """
    signed, unsigned, infinity, negative = _FINITE[array.itemsize]
    flat, largest = array.reshape(-1), np.maximum.reduce
    return largest(flat.view(signed)) < infinity and largest(flat.view(unsigned)) < negative


_FLOATS = (np.dtype(np.float16), np.dtype(np.float32))
# By bytes of a number: integers of its size, and what infinity and minus infinity are as such.
_FINITE = {
    2: (np.dtype("<i2"), np.dtype("<u2"), 0x7C00, 0xFC00),
    4: (np.dtype("<i4"), np.dtype("<u4"), 0x7F800000, 0xFF800000),
}
