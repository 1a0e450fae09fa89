"""The one public seam of the store.

B: clips of a batch. T: steps of a clip. D: width of a stream.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cache.backends import backend_of
from cache.compression import Compression
from cache.errors import DamagedError, MadeByOtherError, NotFoundError, StoreError, is_missing
from cache.header import CHUNK_STEPS, DEFAULT_SHARD_STEPS, HEADER_PATH, Header, StreamSpec, read_header
from cache.index import Index
from cache.lookup import ForkLock, Place, find
from cache.places import files_at
from cache.places.base import Files
from cache.provenance import require_same
from cache.reading import CHECK, RESIDENT, Check, Resident, Rows, rows_of
from cache.writer import Writer

__all__ = ["Compression", "FeatureStore", "StreamSpec"]


class FeatureStore:
    """Features of clips, by clip id and stream. Make one with `create`, look into one with `open`.

    Opening reads the index only; reads are positional reads of the files. A store may be pickled, forked, and read from
    several threads. What other processes commit after opening is seen after `refresh`.
    """

    def __init__(
        self, files: Files, mode: Literal["r", "a"], resident: Resident = "no", check: Check = "never"
    ) -> None:
        """Use `create` or `open` instead."""
        self.path, self.mode = files.root, mode
        self.resident: Resident = resident
        self.check: Check = check
        self._files = files
        with _reading(files):
            self._header = read_header(files)
            self._index = Index(files, self._header)
        self._rows = _Streams(files, self._header, self._index, resident, check)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        streams: Mapping[str, StreamSpec],
        fingerprint: dict[str, Any],
        recorded: dict[str, Any] | None = None,
        backend: str = "zarr",
        shard_steps: int = DEFAULT_SHARD_STEPS,
        compression: Compression | None = None,
        durable: bool = True,
        files: Files | None = None,
    ) -> "FeatureStore":
        """Make an empty store, in one step, and open it for writing.

        Args:
            path: a folder that does not exist yet, or is empty.
            streams: name -> width and dtype.
            fingerprint: what makes the features, as JSON; compared on every `open`.
            recorded: what else is worth knowing of their making, as JSON; shown, never compared.
            backend: `zarr` (an array a stream, a chunk file a shard) or `hdf5` (a file a shard).
            shard_steps: steps a shard can hold; no clip may be longer, and it is held in memory while it fills.
            compression: how to compress the rows; None, the default, is what is read fastest.
            durable: wait for the disk at each commit, so that even a power cut loses nothing that was committed.
            files: another place than `path`, for tests.

        Raises:
            StoreError: if there is something at `path`, or it cannot be written.
        """
        files = files or files_at(path, durable=durable)
        header = Header(
            backend,
            dict(streams),
            shard_steps,
            fingerprint,
            compression,
            recorded or {},
            chunk_steps=CHUNK_STEPS if backend == "zarr" and compression is None else None,
            id=uuid.uuid4().hex,
        )
        header.require_streams_apart()
        try:
            initial_files = {HEADER_PATH: header.to_bytes(), **backend_of(header).metadata(header, 0)}
            files.create(initial_files, folders=("data", "index", "tmp"))
        except FileExistsError as error:
            if not files.exists(HEADER_PATH):
                raise StoreError(f"{files.root} exists and is not an empty folder: choose another one") from error
            raise StoreError(
                f"{files.root} exists: go on with it by FeatureStore.open(..., mode='a'), or choose another folder"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot make a store at {files.root}: {error.strerror or error}") from error
        return cls(files, "a")

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        fingerprint: dict[str, Any] | None = None,
        mode: Literal["r", "a"] = "r",
        resident: Resident = "no",
        check: Check = "never",
        durable: bool = True,
        files: Files | None = None,
    ) -> "FeatureStore":
        """Open a store for reading (`r`) or for reading and writing (`a`).

        Args:
            path: its folder, or the URL of a copy in an object store (`s3://bucket/features`), which is read only.
            fingerprint: what the features must have been made by; not compared if None.
            mode: `r` or `a`.
            resident: whether a stream is held whole from the first time it is read: `no`, it is read from the files;
                `yes`, in memory; `auto`, in memory if it takes at most half of what is free.
            check: when what is read is compared with the checksum of its clip: `never`, which is what is read fastest;
                `first`, the first time that this process reads the clip; `always`. What is held in memory is compared
                when it is read into it, and not again.
            durable: as in `create`.
            files: another place than `path`, for tests.

        Raises:
            StoreError: if there is no store, it is damaged, or its fingerprint is another than the one given, naming
                every key that differs and both values.
        """
        if mode not in ("r", "a"):
            raise StoreError(f"mode {mode!r} is not 'r' (read) or 'a' (read and write)")
        if resident not in RESIDENT:
            raise StoreError(f"resident {resident!r} is not one of {', '.join(RESIDENT)}")
        if check not in CHECK:
            raise StoreError(f"check {check!r} is not one of {', '.join(CHECK)}")
        if mode == "a" and resident != "no":
            raise StoreError(f"resident {resident!r} is for reading: open the store with mode='r'")
        files = files or files_at(path, durable=durable)
        if mode == "a":
            files.require_writable()
        if not files.exists(HEADER_PATH):
            raise NotFoundError(f"there is no feature store at {files.root}: make it first")
        store = cls(files, mode, resident, check)
        if fingerprint is not None:
            require_same(store.fingerprint, fingerprint, f"the store {store.path}")
        return store

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Say whether there is a store at `path`."""
        return files_at(path).exists(HEADER_PATH)

    @property
    def backend(self) -> str:
        """`zarr` or `hdf5`."""
        return self._header.backend

    @property
    def streams(self) -> dict[str, StreamSpec]:
        """The streams that every clip has."""
        return dict(self._header.streams)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What made the features, as given to `create`."""
        return self._header.fingerprint

    @property
    def recorded(self) -> dict[str, Any]:
        """What else is known of their making, as given to `create`."""
        return self._header.recorded

    @property
    def compression(self) -> Compression | None:
        """How the rows are compressed."""
        return self._header.compression

    @property
    def shard_steps(self) -> int:
        """The steps that a shard can hold, and so the longest clip."""
        return self._header.shard_steps

    def keys(self) -> list[str]:
        """Return the clip ids in the order of the index."""
        return list(self._index.places)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._index.places

    def __len__(self) -> int:
        return len(self._index.places)

    def length(self, clip_id: str) -> int:
        """Return the steps of a clip."""
        return self._place(clip_id)[2]

    def source(self, clip_id: str) -> str | None:
        """Return what the clip was made from, as given when it was written."""
        record, position = self._index.position(clip_id)
        return record.sources[position]

    def require_sources(self, sources: Mapping[str, str]) -> None:
        """Raise StoreError naming the clips of the store that were made from something else than `sources` says.

        Clips that only one side knows are no error: a manifest may grow, and a store may hold more than it.
        """
        changed = [clip for clip, source in sources.items() if clip in self and self.source(clip) not in (None, source)]
        if changed:
            names = ", ".join(map(repr, changed[:5])) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
            raise MadeByOtherError(
                f"{len(changed)} clips have changed since they were put into {self.path}: {names}: "
                "remove them and make them again, or give changed clips new ids"
            )

    def read(self, clip_id: str, stream: str, start: int | None = None, stop: int | None = None) -> np.ndarray:
        """Return the steps [start, stop) of a clip as a new array (T, D); `start` and `stop` as in a slice."""
        try:
            return self._rows[stream].read(clip_id, start, stop)
        except DamagedError as error:
            self._look_again(error)
            return self._rows[stream].read(clip_id, start, stop)

    def read_batch(self, clip_ids: Sequence[str], stream: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the clips padded with zeros (B, T, D), and their lengths (B,) int64."""
        if isinstance(clip_ids, str):
            raise StoreError(f"clip_ids is the text {clip_ids!r}: give a list of clip ids")
        try:
            return self._rows[stream].read_batch(clip_ids)
        except DamagedError as error:
            self._look_again(error)
            return self._rows[stream].read_batch(clip_ids)

    def writer(self) -> Writer:
        """Return a writer, to be used as `with store.writer() as writer: writer.write(...)`."""
        if self.mode != "a":
            raise StoreError(f"the store {self.path} is open for reading: open it with mode='a'")
        return Writer(self._files, self._header, self._index)

    def refresh(self) -> None:
        """See what other processes have committed, or removed, meanwhile."""
        with _reading(self._files):
            self._index.refresh()
        self._rows.forget()
        self._files.forget(self._index.dropped_files())

    def _look_again(self, error: DamagedError) -> None:
        """Refresh if a file was missing: its clips may have been written anew, without those that were removed."""
        if not is_missing(error):
            raise error
        self.refresh()

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}, {self.backend}, {len(self)} clips, streams {', '.join(self.streams)})"

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self._files, "mode": self.mode, "resident": self.resident, "check": self.check}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def _place(self, clip_id: str) -> Place:
        return find(self._index.places, clip_id, self.path)


@contextmanager
def _reading(files: Files) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot open the store {files.root}: {error.strerror or error}") from error


class _Streams(dict[str, Rows]):
    """Stream name -> the reader of its rows, made on first use."""

    def __init__(self, files: Files, header: Header, index: Index, resident: Resident, check: Check) -> None:
        super().__init__()
        self._files, self._header, self._index = files, header, index
        self._resident: Resident = resident
        self._check: Check = check
        self._lock = ForkLock()

    def __missing__(self, stream: str) -> Rows:
        header, files = self._header, self._files
        if stream not in header.streams:
            raise NotFoundError(f"stream {stream!r} is not in {files.root}, it has {', '.join(header.streams)}")
        with self._lock:  # of several threads that ask first, one reads the stream into memory
            if stream not in self:
                self[stream] = rows_of(stream, header, self._index, files, self._resident, self._check)
            return self[stream]

    def forget(self) -> None:
        """Make the readers anew; one that is being made is done with first, and forgotten too."""
        with self._lock:
            self.clear()
