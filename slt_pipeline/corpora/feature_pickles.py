"""Feature dumps of the published systems: read into a store, and written from one (FACTS 11).

A dump is a gzip pickle of a list of dicts {name, gloss, text, num_frames, sign}, a file a split; `sign` is a tensor
(T, D) float32. T steps of a clip, D width of the stream.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache import FeatureStore, StreamSpec
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.pickles import PickledTensor, PickleTooLarge, read_pickle, write_pickle
from slt_pipeline.errors import SltError
from slt_pipeline.files import require_new_file
from slt_pipeline.text.gloss_form import gloss_sentence

log = logging.getLogger(__name__)

MAX_BYTES = 4 * 2**30
"""Largest dump, unpacked. (The largest published one, CSL-Daily train, has 1.8 GB.)"""


@dataclass(frozen=True, slots=True)
class FeatureImport:
    """What an import did."""

    store: FeatureStore
    num_written: int = 0
    num_present: int = 0
    """Clips that the store had, the same, from an earlier run."""
    num_repeated: int = 0
    """Times that a clip came again, the same: the ranks of a distributed dump overlap."""


def import_features(
    paths: Sequence[Path],
    target: Path,
    *,
    stream: str = "s3d",
    dtype: str = "float16",
    backend: str = "zarr",
    fingerprint: Mapping[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> FeatureImport:
    """Write the clips of dumps, or of the parts that their ranks wrote, to a store. Run again, it goes on.

    The store is made if it is not there. Its fingerprint is `fingerprint` and, as `imported_from`, the SHA-256 of each
    file: what made the features is not written in them, but these files did. A file is held in memory once, unpacked.

    Args:
        paths: the files; all that belong into the store, since its fingerprint names them.
        target: folder of the store.
        stream: what the store calls the features.
        dtype: float16 or float32; the dumps have float32, which float16 rounds.
        backend: `zarr` or `hdf5`.
        fingerprint: what else is known of them, as JSON.
        max_bytes: largest file, unpacked.
        progress: wraps the names of a file's clips while they are written.

    Raises:
        SltError: if a file is no such dump, asks for more than plain data, is empty or damaged, or says something else
            of a clip than another does.
        StoreError: if the store was made from other files, or refuses a clip.
    """
    made_from = {**(fingerprint or {}), "imported_from": sorted({_sha256(path) for path in paths})}
    store = FeatureStore.open(target, fingerprint=made_from, mode="a") if FeatureStore.exists(target) else None
    counts, seen = Counter(), set()
    for path in paths:
        log.info("reading %s, %.1f MB packed", path, path.stat().st_size / 1e6)
        clips, num_repeated = _read_dump(path, max_bytes)
        counts["num_repeated"] += num_repeated
        streams = {stream: StreamSpec(next(iter(clips.values())).shape[1], dtype)}
        if store is None:
            store = FeatureStore.create(target, backend=backend, streams=streams, fingerprint=made_from)
        _require_kind(store, backend, streams, path)
        with store.writer() as writer:
            for name in progress(clips):
                if name in store:
                    _require_equal(path, name, clips[name], store, stream)
                    counts["num_repeated" if name in seen else "num_present"] += 1
                else:
                    writer.write(name, {stream: clips[name]})
                    counts["num_written"] += 1
        seen.update(clips)
        del clips  # before the next file is unpacked
    if store is None:
        raise SltError("no file of features was given")
    return FeatureImport(store, **counts)


def export_features(
    source: str | Path,
    path: Path,
    clips: Sequence[Clip],
    *,
    stream: str = "s3d",
    overwrite: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Write features of a store as a dump that the published code reads, clip by clip, atomically.

    Glosses that nobody wrote down, and texts, are None in it. `advance` is called once a clip.

    Raises:
        SltError: if `path` lies in the store or must not be replaced, or the store lacks the stream or a clip.
        StoreError: if a clip has changed since its features were made.
    """
    from slt_pipeline.corpora.features import require_stream, require_unchanged

    if "://" not in str(source) and path.resolve().is_relative_to(Path(source).resolve()):
        raise SltError(f"{path} lies in {source}, which is read; name a file elsewhere")
    require_new_file(path, "a gzip pickle", _is_gzip, overwrite=overwrite)
    store = FeatureStore.open(source)
    require_stream(stream, store.streams)
    missing = [clip.id for clip in clips if clip.id not in store]
    if missing:
        raise SltError(
            f"{source} lacks {len(missing)} of {len(clips)} clips, such as {missing[0]}; add them with `slt extract`, "
            "or name a manifest without them"
        )
    require_unchanged(store, clips)
    records = [
        {
            "name": clip.id,
            "gloss": None if clip.gloss is None else gloss_sentence(clip.gloss),
            "text": clip.text,
            "num_frames": clip.num_frames,
            "sign": _Sign(store, clip.id, stream, advance),
        }
        for clip in clips
    ]
    write_pickle(path, records)


class _Sign:
    """Pickles into the tensor (T, D) float32 of a clip, read from the store at that moment."""

    def __init__(self, store: FeatureStore, clip_id: str, stream: str, advance: Callable[[], object]) -> None:
        self._read = lambda: store.read(clip_id, stream)
        self._advance = advance

    def __reduce_ex__(self, protocol: Any) -> Any:
        import torch

        self._advance()
        return torch.from_numpy(self._read().astype(np.float32, copy=False)).__reduce_ex__(protocol)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SltError(f"{path}: cannot be read: {error.strerror}") from None


def _read_dump(path: Path, max_bytes: int) -> tuple[dict[str, np.ndarray], int]:
    """Features (T, D) by name, all of one width, and how often a name came again with the same ones."""
    try:
        records = read_pickle(path, max_bytes)
    except PickleTooLarge as error:
        raise SltError(f"{error}; if you trust it, allow more with --max-gib") from None
    if not isinstance(records, list):
        raise SltError(f"{path}: expected a list of clips, found {type(records).__name__}")
    if not records:
        raise SltError(
            f"{path}: no clips in it; the published code writes such a file for the keypoint stream that it does not "
            "have: take the one in head_rgb_input"
        )
    clips: dict[str, np.ndarray] = {}
    num_repeated = num_bytes = 0
    for number, record in enumerate(records):
        name, features = _clip(f"{path}: entry {number}", record)
        first = clips.setdefault(name, features)
        num_bytes += features.nbytes
        if num_bytes > max_bytes:  # many tensors may share the bytes of one
            raise SltError(f"{path}: refused: its features take more than {max_bytes} bytes; allow more with --max-gib")
        width = next(iter(clips.values())).shape[1]
        if features.shape[1] != width:
            raise SltError(f"{path}: clip {name!r} has features of width {features.shape[1]}, the first has {width}")
        if first is not features:
            if not np.array_equal(first, features):
                raise SltError(f"{path}: clip {name!r} comes twice, with different features: leave one out")
            num_repeated += 1
    return clips, num_repeated


def _clip(where: str, record: Any) -> tuple[str, np.ndarray]:
    if not isinstance(record, dict) or not {"name", "sign"} <= set(record):
        found = f"the keys {', '.join(map(str, record))}" if isinstance(record, dict) else type(record).__name__
        raise SltError(f"{where}: expected a dict with name and sign, found {found}")
    name, sign = record["name"], record["sign"]
    if not isinstance(name, str) or not name:
        raise SltError(f"{where}: name must be a text that is not empty, found {name!r:.60}")
    if not isinstance(sign, PickledTensor):
        raise SltError(f"{where}: sign of clip {name!r} must be a tensor, found {type(sign).__name__}")
    if len(sign.shape) != 2 or sign.shape[0] == 0 or sign.shape[1] <= 1:
        raise SltError(
            f"{where}: sign of clip {name!r} has shape {sign.shape}, (steps, width) is needed: "
            "in annotation files it is only a placeholder"
        )
    try:
        return name, sign.numbers()
    except SltError as error:
        raise SltError(f"{where}: clip {name!r}: {error}") from None


def _require_kind(store: FeatureStore, backend: str, streams: Mapping[str, StreamSpec], path: Path) -> None:
    needed, there = _kind(backend, streams), _kind(store.backend, store.streams)
    if needed != there:
        raise SltError(f"{path} needs a store of {needed}, {store.path} is one of {there}: choose another folder")


def _kind(backend: str, streams: Mapping[str, StreamSpec]) -> str:
    return ", ".join([backend, *(f"{name} {spec.dim} x {spec.dtype}" for name, spec in streams.items())])


def _require_equal(path: Path, name: str, features: np.ndarray, store: FeatureStore, stream: str) -> None:
    with np.errstate(over="ignore"):  # then they differ: what is in a store is finite
        rounded = features.astype(store.streams[stream].numpy_dtype)
    if not np.array_equal(rounded, store.read(name, stream)):
        raise SltError(f"{path}: clip {name!r} is in {store.path} with different features: leave one of the two out")
