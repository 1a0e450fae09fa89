"""Stores from stores: another backend, another dtype, some streams, some clips, several into one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cache.care import Progress, caring, ignore
from cache.care.contents import checksum
from cache.care.verify import verify
from cache.compression import Compression
from cache.errors import NotFoundError, StoreError
from cache.header import DEFAULT_SHARD_STEPS, StreamSpec
from cache.provenance import require_same
from cache.seal import hex_crc32
from cache.store import FeatureStore


def convert(
    source: FeatureStore, target: str | Path, *, shard_steps: int | None = None, **options: Any
) -> FeatureStore:
    """Copy a store to `target`, and check the copy. What is not said stays as it is; `options` as in `merge`."""
    return merge([source], target, shard_steps=source.shard_steps if shard_steps is None else shard_steps, **options)


def merge(
    sources: Sequence[FeatureStore],
    target: str | Path,
    *,
    backend: str | None = None,
    dtype: str | Mapping[str, str] | None = None,
    streams: Collection[str] | None = None,
    clips: Collection[str] | None = None,
    shard_steps: int | None = DEFAULT_SHARD_STEPS,
    compression: Compression | Literal["keep"] | None = "keep",
    progress: Progress = ignore,
) -> FeatureStore:
    """Copy several stores of one fingerprint into one, and check it. Run again, it goes on where it was stopped.

    Every clip is compared with its checksum when it is read, and all of `target` is read again at the end.

    Args:
        sources: stores of the same fingerprint and streams; a clip may be in several if it is the same in all.
        target: folder of the new store.
        backend: `zarr` or `hdf5`; that of the first source if not said.
        dtype: float16 or float32 for all streams or by stream. float32 is rounded to float16 as when writing.
        streams: those to keep; all if not said.
        clips: those to keep, in the order of the sources; all if not said.
        shard_steps: steps of a shard; None for one shard that holds everything, which for hdf5 means a single file
            (and is held in memory while it is written).
        compression: of the rows, None for none; that of the first source if not said.
        progress: told of every clip twice, when it is copied and when the copy is read again.

    Raises:
        StoreError: if the sources do not go together, one of them is damaged, or the copy is not what it should be.
    """
    if not sources:
        raise StoreError("no store was named to be copied")
    if isinstance(clips, str):
        raise StoreError(f"clips is the text {clips!r}: give a list of clip ids")
    # Read from the files, wherever the stores hold their streams: all is read once.
    sources = [FeatureStore.open(store.path, files=store._files, check="always") for store in sources]
    first = sources[0]
    for other in sources[1:]:
        cure = "a store holds what one encoder made: keep the two apart"
        require_same(other.fingerprint, first.fingerprint, f"{other.path}, to be merged with {first.path},", cure)
        if other.streams != first.streams:
            raise StoreError(
                f"{other.path} has the streams {_words(other.streams)}, {first.path} has {_words(first.streams)}: "
                "convert one to be like the other first"
            )
    plan = _plan(sources, clips)
    compression = first.compression if compression == "keep" else compression
    if shard_steps is None:
        shard_steps = max(1, sum(store.length(clip_id) for clip_id, store in plan.items()))
        if compression:
            shard_steps = -(-shard_steps // compression.chunk_steps) * compression.chunk_steps
    steps, longest = max(((store.length(clip_id), clip_id) for clip_id, store in plan.items()), default=(0, ""))
    if steps > shard_steps:
        raise StoreError(f"clip {longest!r} has {steps} steps, a shard would hold {shard_steps}: take {steps} or more")
    kind = {
        "backend": backend or first.backend,
        "streams": _target_streams(first, dtype, streams),
        "shard_steps": shard_steps,
        "compression": compression,
    }
    store = _open_target(target, first, kind)
    with caring(store._files, yes=True):  # a second copy into it would write the same clips
        try:
            _copy(store, plan, progress)
        except NotFoundError as error:
            raise StoreError(
                f"a clip was removed while it was copied: remove {store.path}, and copy again ({error})"
            ) from error
    return store


def _copy(store: FeatureStore, plan: dict[str, FeatureStore], progress: Progress) -> None:
    store.refresh()
    strange = [clip_id for clip_id in store if clip_id not in plan]
    if strange:
        raise StoreError(
            f"{store.path} exists and holds {len(strange)} clips that are not to be copied, such as {strange[0]!r}: "
            "remove it, or choose another folder"
        )
    row_bytes = sum(spec.row_bytes for spec in store.streams.values())
    total = 2 * row_bytes * sum(store.length(clip_id) for clip_id, store in plan.items())
    with store.writer() as writer:
        for clip_id, source in plan.items():
            if clip_id not in store:
                features = {name: source.read(clip_id, name) for name in store.streams}
                writer.write(clip_id, features, source=source.source(clip_id))
            progress(row_bytes * source.length(clip_id), total)
    for damage in verify(store.path, progress=lambda done, _: progress(done, total)):
        raise StoreError(f"the copy {store.path} is not as it was written, {damage}: remove it and check the disk")
    for clip_id, source in plan.items():
        for name in store.streams:
            if checksum(store, clip_id, name) != _expected_checksum(source, clip_id, name, store):
                raise StoreError(f"clip {clip_id!r} of {store.path} is not as in {source.path}: remove the copy")


def _target_streams(
    store: FeatureStore, dtype: str | Mapping[str, str] | None, streams: Collection[str] | None
) -> dict[str, StreamSpec]:
    unknown = sorted({*(streams or ()), *(dtype if isinstance(dtype, Mapping) else ())} - set(store.streams))
    if unknown:
        raise StoreError(f"stream {unknown[0]!r} is not in {store.path}, it has {', '.join(store.streams)}")
    dtypes = dict.fromkeys(store.streams, dtype) if isinstance(dtype, str) else dict(dtype or {})
    return {
        name: replace(spec, dtype=dtypes.get(name, spec.dtype))
        for name, spec in store.streams.items()
        if streams is None or name in streams
    }


def _plan(sources: Sequence[FeatureStore], clips: Collection[str] | None) -> dict[str, FeatureStore]:
    """Return clip id -> the store to take it from."""
    plan: dict[str, FeatureStore] = {}
    wanted = None if clips is None else set(clips)
    for store in sources:
        for clip_id in store if wanted is None else filter(wanted.__contains__, store):
            owner = plan.setdefault(clip_id, store)
            if owner is not store and any(
                checksum(owner, clip_id, name) != checksum(store, clip_id, name) for name in store.streams
            ):
                raise StoreError(
                    f"clip {clip_id!r} is in {owner.path} and in {store.path} with different features: "
                    "leave one of the two out"
                )
    missing = sorted((wanted or set()) - set(plan))
    if missing:
        raise StoreError(
            f"{len(missing)} of the clips asked for are in no source, such as {missing[0]!r}: leave them out"
        )
    return plan


def _open_target(target: str | Path, first: FeatureStore, kind: dict[str, Any]) -> FeatureStore:
    if not FeatureStore.exists(target):
        return FeatureStore.create(target, fingerprint=first.fingerprint, recorded=first.recorded, **kind)
    store = FeatureStore.open(target, mode="a")
    cure = "remove it, or choose another folder"
    require_same(store.fingerprint, first.fingerprint, f"{store.path}, which exists,", cure)
    for name, value in kind.items():
        if getattr(store, name) != value:
            there, asked = (_words(v) if name == "streams" else v for v in (getattr(store, name), value))
            raise StoreError(
                f"{store.path} exists and is another kind of store, its {name.replace('_', ' ')} is {there}, "
                f"not {asked}: {cure}"
            )
    return store


def _expected_checksum(source: FeatureStore, clip_id: str, stream: str, copy: FeatureStore) -> str:
    """Return the CRC-32 of a clip's rows as they should be in the copy."""
    spec, compression = copy.streams[stream], copy.compression
    if source.streams[stream] == spec and not (compression and compression.keep_bits):
        return checksum(source, clip_id, stream)
    features = source.read(clip_id, stream).astype(spec.numpy_dtype)
    if compression:
        compression.round(features)
    return hex_crc32(features.data)


def _words(streams: dict[str, StreamSpec]) -> str:
    return ", ".join(f"{name} ({spec.dim} x {spec.dtype})" for name, spec in streams.items())
