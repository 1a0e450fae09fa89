"""Compressed rows: what other tools read, how numbers are rounded, and how damage shows."""

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import Compression, FeatureStore, StoreError, StreamSpec
from cache.care.verify import verify
from cache.testing import STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

CLIPS = make_clips(20)
ONE, TWO, *_ = CLIPS
NUM_FLIPS = 60  # of each codec
CODECS = pytest.mark.parametrize(("backend", "codec"), [("zarr", "blosc"), ("zarr", "zstd"), ("hdf5", "gzip")])


def make(path: Any, backend: str, codec: str, files: Any = None, **options: Any) -> FeatureStore:
    """Make a store of `CLIPS` in shards of 16 steps, 4 or `chunk_steps` of them compressed together."""
    store = FeatureStore.create(
        path,
        backend=backend,
        streams=STREAMS,
        fingerprint={},
        shard_steps=16,
        compression=Compression(codec, **{"chunk_steps": 4, **options}),
        durable=False,
        files=files,
    )
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
    return store


# Other readers


@pytest.mark.parametrize("keep_bits", [None, 3])
@pytest.mark.parametrize("codec", ["blosc", "zstd"])
def test_zarr_reads_the_same_numbers(tmp_path: Path, codec: str, keep_bits: int | None) -> None:
    import zarr

    store = make(tmp_path / "s", "zarr", codec, keep_bits=keep_bits)
    group = zarr.open_group(tmp_path / "s" / "data", mode="r")
    members = dict(group.members())  # warns of files that are not Zarr's; warnings are errors here
    assert {name: (array.chunks, array.shards) for name, array in members.items()} == {  # pyright: ignore
        "wide": ((4, 6), (16, 6)),
        "narrow": ((4, 3), (16, 3)),
    }
    for clip_id in CLIPS:
        record, row, length = store._place(clip_id)
        shard = record.shard
        for stream in STREAMS:
            found = np.asarray(group[stream][shard * 16 + row : shard * 16 + row + length])  # pyright: ignore
            np.testing.assert_array_equal(found, store.read(clip_id, stream), strict=True)
    last = max(store._index.records.values(), key=lambda record: record.shard)
    assert last.steps < 16
    assert not np.asarray(group["wide"][last.shard * 16 + last.steps :]).any(), "rows of no clip must read as zero"  # pyright: ignore


@pytest.mark.parametrize("keep_bits", [None, 3])
def test_h5py_reads_the_same_numbers(tmp_path: Path, keep_bits: int | None) -> None:
    import h5py

    store = make(tmp_path / "s", "hdf5", "gzip", keep_bits=keep_bits)
    for clip_id in CLIPS:
        record, row, length = store._place(clip_id)
        shard = record.shard
        with h5py.File(tmp_path / "s" / "data" / f"{shard:08d}.h5") as file:
            assert file["narrow"].chunks == (4, 3)  # pyright: ignore
            for stream in STREAMS:
                found = np.asarray(file[stream][row : row + length])  # pyright: ignore
                np.testing.assert_array_equal(found, store.read(clip_id, stream), strict=True)


@CODECS
@pytest.mark.parametrize("chunk_steps", [1, 4, 16])
def test_a_clip_is_read_by_hand_as_the_readme_describes_pieces(
    tmp_path: Path, backend: str, codec: str, chunk_steps: int
) -> None:
    make(tmp_path / "s", backend, codec, chunk_steps=chunk_steps)
    header = json.loads((tmp_path / "s" / "store.json").read_bytes())
    assert header["format_version"] == 2
    assert header["compression"] == {"codec": codec, "level": 5, "keep_bits": None, "chunk_steps": chunk_steps}
    for path in (tmp_path / "s" / "index").iterdir():
        record = json.loads(path.read_bytes())
        for stream, spec in STREAMS.items():
            extent = record["extents"][stream]
            assert set(extent) == {"file", "pieces"}
            assert len(extent["pieces"]) == -(-record["steps"] // chunk_steps)
            data = (tmp_path / "s" / extent["file"]).read_bytes()
            rows = [by_hand(data[start:stop], codec, spec, chunk_steps) for start, stop in extent["pieces"]]
            rows = np.concatenate(rows)
            assert not rows[record["steps"] :].any(), "the last piece is filled up with zeros"
            for clip, row, length in zip(record["clips"], record["rows"], record["lengths"], strict=True):
                np.testing.assert_array_equal(rows[row : row + length], CLIPS[clip][stream], strict=True)
            assert record["files"][extent["file"]] == {"bytes": len(data), "rest": f"{zlib.crc32(data):08x}"}


def by_hand(piece: bytes, codec: str, spec: StreamSpec, chunk_steps: int) -> np.ndarray:
    import numcodecs

    if codec == "gzip":  # deflated after the shuffle filter: the first bytes of all numbers, then the second ones, ...
        itemsize = np.dtype(spec.dtype).itemsize
        data = np.frombuffer(zlib.decompress(piece), np.uint8).reshape(itemsize, -1).T.tobytes()
    else:
        data = {"blosc": numcodecs.Blosc(), "zstd": numcodecs.Zstd()}[codec].decode(piece)
    return np.frombuffer(data, spec.dtype).reshape(chunk_steps, spec.dim)


@CODECS
def test_reading_imports_neither_zarr_nor_h5py(tmp_path: Path, backend: str, codec: str) -> None:
    make(tmp_path / "s", backend, codec)
    code = (
        f"import sys, cache; cache.FeatureStore.open({str(tmp_path / 's')!r}).read_batch([{ONE!r}], 'wide'); "
        "print(*sorted({'zarr', 'h5py', 'numcodecs', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.check_output([sys.executable, "-c", code], cwd=Path(__file__).parents[2], text=True).split()
    assert found == ([] if codec == "gzip" else ["numcodecs"])


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "lz4"}, "compression 'lz4' is not one of blosc, gzip, zstd"),
        ({"codec": None}, "compression None is not one of blosc, gzip, zstd"),
        ({"level": 0}, "compression level 0 is not a whole number from 1 to 9"),
        ({"level": 10}, "compression level 10 is not a whole number from 1 to 9"),
        ({"level": None}, "compression level None is not"),
        ({"level": True}, "compression level True is not"),
        ({"keep_bits": 0}, "compression keep_bits 0 is not a whole number from 1 to 23"),
        ({"keep_bits": 24}, "compression keep_bits 24 is not a whole number from 1 to 23"),
        ({"keep_bits": 2.5}, "compression keep_bits 2.5 is not"),
        ({"keep_bits": True}, "compression keep_bits True is not"),
        ({"chunk_steps": 0}, "compression chunk_steps 0 is not a whole number from 1 to 1048576"),
        ({"chunk_steps": 1 << 21}, "compression chunk_steps 2097152 is not"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Compression(**{"codec": "zstd", **options})


@pytest.mark.parametrize(
    ("backend", "compression", "shard_steps", "message"),
    [
        ("hdf5", Compression("blosc"), 128, "a hdf5 store has compression gzip, not blosc"),
        ("hdf5", Compression("zstd"), 128, "a hdf5 store has compression gzip, not zstd"),
        ("zarr", Compression("gzip"), 128, "a zarr store has compression blosc or zstd, not gzip"),
        (
            "zarr",
            Compression("zstd", keep_bits=11),
            128,
            "stream 'wide' is float16 with 10 bits of mantissa: keep_bits 11 is more",
        ),
        (
            "zarr",
            Compression("zstd"),
            100,
            "shard_steps 100 is not a multiple of the compression's chunk_steps 64: take shard_steps=128",
        ),
        ("zarr", Compression("zstd"), 32, "shard_steps 32 is not a multiple of .* chunk_steps 64: take shard_steps=64"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_made(
    tmp_path: Path, backend: str, compression: Compression, shard_steps: int, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        FeatureStore.create(
            tmp_path / "s",
            backend=backend,
            streams=STREAMS,
            fingerprint={},
            shard_steps=shard_steps,
            compression=compression,
        )
    assert not (tmp_path / "s").exists()


@CODECS
def test_rows_of_zeros_are_kept_like_any_others(tmp_path: Path, backend: str, codec: str) -> None:
    ones, zeros = (np.full((4, 2), number, np.float16) for number in (1, 0))
    clips = {"zeros": {"a": zeros}, "ones": {"a": ones}, "zeros again": {"a": -zeros}, "more": {"a": ones}}
    compression = Compression(codec, chunk_steps=4)
    for name, kept in [("mixed", list(clips)), ("nothing else", ["zeros"])]:
        store = FeatureStore.create(
            tmp_path / name,
            backend=backend,
            streams={"a": StreamSpec(2)},
            fingerprint={},
            shard_steps=16,
            compression=compression,
            durable=False,
        )
        with store.writer() as writer:
            for clip_id in kept:
                writer.write(clip_id, clips[clip_id])
        assert_holds(FeatureStore.open(tmp_path / name), {clip_id: clips[clip_id] for clip_id in kept})
        assert verify(tmp_path / name) == []


@CODECS
@pytest.mark.parametrize("level", [1, 9])
def test_numbers_that_cannot_be_made_smaller_are_kept_all_the_same(
    tmp_path: Path, backend: str, codec: str, level: int
) -> None:
    rng = np.random.default_rng(9)
    clips = {
        f"{number}": {"a": (rng.integers(0, 1 << 32, (7, 1), np.uint32) & 0xBFFFFFFF).view(np.float32)}
        for number in range(9)
    }
    store = FeatureStore.create(
        tmp_path / "s",
        backend=backend,
        streams={"a": StreamSpec(1, "float32")},
        fingerprint={},
        shard_steps=21,
        compression=Compression(codec, level=level, chunk_steps=1),
        durable=False,
    )
    with store.writer() as writer:
        for clip_id, features in clips.items():
            writer.write(clip_id, features)
    assert_holds(FeatureStore.open(tmp_path / "s"), clips)
    assert verify(tmp_path / "s") == []


# Damage


@CODECS
def test_every_flipped_bit_is_found(backend: str, codec: str) -> None:
    files, rng = MemoryFiles(), np.random.default_rng(4)
    make("m", backend, codec, files)
    paths = ["store.json", *files.walk("data"), *files.walk("index")]
    sizes = np.array([files.size(path) for path in paths])
    for path in rng.choice(paths, NUM_FLIPS, p=sizes / sizes.sum()):
        sound = files.read(path)
        damaged, bit = bytearray(sound), int(rng.integers(len(sound) * 8))
        damaged[bit // 8] ^= 1 << bit % 8
        files.put(path, bytes(damaged))
        assert path in {damage.file for damage in verify("m", files=files)}, f"bit {bit} of {path}"
        files.put(path, sound)
    assert verify("m", files=files) == []


@CODECS
def test_every_flipped_bit_of_a_piece_is_found_or_refused(backend: str, codec: str) -> None:
    files = MemoryFiles()
    store = make("m", backend, codec, files)
    record, _ = store._index.position(ONE)
    extent = record.extents["wide"]
    sound, (start, stop) = files.read(extent.file), (extent.pieces or [])[0]
    refused = 0
    for bit in range(8 * start, 8 * stop):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        files.put(extent.file, bytes(damaged))
        try:
            store.read(ONE, "wide")  # whatever it yields: neither another error nor a crash
        except StoreError as error:
            refused += 1
            assert f"{extent.file}, bytes {start} to {stop}: " in str(error)
    assert refused


@CODECS
def test_a_piece_that_does_not_unpack_is_named(tmp_path: Path, backend: str, codec: str) -> None:
    store = make(tmp_path / "s", backend, codec)
    victim = next(clip_id for clip_id in CLIPS if store._place(clip_id)[1] >= 4)
    record, position = store._index.position(victim)
    extent, piece = record.extents["wide"], record.rows[position] // 4
    start, stop = (extent.pieces or [])[piece]
    with (tmp_path / "s" / extent.file).open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * (stop - start))
    where = rf"{extent.file}, bytes {start} to {stop}: does not unpack \(.+\): verify the store, repair it"
    for read in (lambda: store.read(victim, "wide"), lambda: store.read_batch([victim], "wide")):
        with pytest.raises(StoreError, match=where):
            read()
    with pytest.raises(StoreError, match=where):
        FeatureStore.open(tmp_path / "s", resident="yes").read(ONE, "wide")
    assert {victim} <= {clip for damage in verify(tmp_path / "s") for clip in damage.clips or ()}
    np.testing.assert_array_equal(store.read(victim, "narrow"), CLIPS[victim]["narrow"])


@CODECS
def test_a_piece_of_another_size_is_refused(backend: str, codec: str) -> None:
    import numcodecs

    pack = {"blosc": numcodecs.Blosc().encode, "zstd": numcodecs.Zstd().encode, "gzip": zlib.compress}[codec]
    unpack = Compression(codec).unpacker(48, 2)
    assert unpack(np.frombuffer(pack(bytes(48)), np.uint8)).tolist() == [0] * 48
    with pytest.raises(StoreError, match=r"unpacks to (96|49 or more) bytes, 48 needed: verify the store"):
        unpack(np.frombuffer(pack(bytes(96)), np.uint8))
    with pytest.raises(StoreError, match="does not unpack"):
        unpack(np.empty(0, np.uint8))


@pytest.mark.parametrize(("change", "size"), [(1, 0), (0, 1), (1 << 30, 0)], ids=["longer", "cut", "far beyond memory"])
def test_blosc_reads_no_further_than_the_piece(change: int, size: int) -> None:
    import numcodecs

    piece = bytearray(numcodecs.Blosc().encode(bytes(48)))
    piece[12:16] = (int.from_bytes(piece[12:16], "little") + change).to_bytes(4, "little")
    unpack = Compression("blosc").unpacker(48, 2)
    with pytest.raises(StoreError, match=r"does not unpack \(blosc's header tells another size"):
        unpack(np.frombuffer(piece[: len(piece) - size], np.uint8))


@CODECS
def test_a_piece_that_would_unpack_to_very_much_takes_no_memory_for_it(backend: str, codec: str) -> None:
    import tracemalloc

    import numcodecs

    pack = {"blosc": numcodecs.Blosc().encode, "zstd": numcodecs.Zstd().encode, "gzip": zlib.compress}[codec]
    bomb, unpack = np.frombuffer(pack(bytes(1 << 26)), np.uint8), Compression(codec).unpacker(48, 2)
    tracemalloc.start()
    with pytest.raises(StoreError, match="unpacks to"):
        unpack(bomb)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
