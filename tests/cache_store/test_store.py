"""What a local folder adds to the contract: paths, permissions, formats, what is imported."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nobody import as_nobody

from cache import FeatureStore, StoreError, StreamSpec
from cache.index import claim_path
from cache.places.local import _Descriptor
from cache.provenance import canonical, differences, fingerprint_hash
from cache.seal import seal
from cache.testing import STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

ROOT = Path(__file__).resolve().parents[2]
CLIPS = make_clips(12)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={}, shard_steps=16, durable=False)
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
    return store


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_reading_imports_neither_torch_nor_zarr_nor_h5py(tmp_path: Path, backend: str) -> None:
    store = FeatureStore.create(tmp_path / "s", backend=backend, streams=STREAMS, fingerprint={}, durable=False)
    with store.writer() as writer:
        writer.write("a", next(iter(CLIPS.values())))
    code = (
        "import sys, cache; assert 'numpy' not in sys.modules; "
        f"cache.FeatureStore.open({str(store.path)!r}).read_batch(['a'], 'wide'); "
        "print(*{'torch', 'zarr', 'h5py'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "\n"


def test_the_zarr_metadata_is_what_zarr_itself_writes(tmp_path: Path, store: FeatureStore) -> None:
    import zarr

    rows = 8 * 16  # the shape grows in steps
    group = zarr.create_group(tmp_path / "z")
    for name, spec in STREAMS.items():
        group.create_array(
            name,
            shape=(rows, spec.dim),
            dtype=spec.dtype,
            chunks=(16, spec.dim),
            shards=(16, spec.dim),
            compressors=None,
            dimension_names=["step", "feature"],
            attributes={"num_shards": rows // 16},
            chunk_key_encoding={"name": "default", "separator": "."},
        )
    for path in ("zarr.json", "wide/zarr.json", "narrow/zarr.json"):
        ours, theirs = (
            json.loads((store.path / "data" / path).read_text()),
            json.loads((tmp_path / "z" / path).read_text()),
        )
        assert ours == {key: value for key, value in theirs.items() if key != "consolidated_metadata"}


def test_what_is_not_a_store_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no feature store at .*/nothing: make it first"):
        FeatureStore.open(tmp_path / "nothing")
    (tmp_path / "store.json").write_bytes(seal({"format": "else"}))
    with pytest.raises(StoreError, match="is not a feature store's header: its format is 'else'"):
        FeatureStore.open(tmp_path)
    with pytest.raises(StoreError, match="mode 'w' is not"):
        FeatureStore.open(tmp_path, mode="w")  # pyright: ignore[reportArgumentType]


def test_a_newer_format_is_refused(store: FeatureStore) -> None:
    path = store.path / "store.json"
    document = json.loads(path.read_bytes())
    del document["crc32"]
    path.write_bytes(seal({**document, "format_version": 4}))
    with pytest.raises(StoreError, match="has format version 4, this program reads up to 3: update"):
        FeatureStore.open(store.path)
    path.write_bytes(seal({**document, "made_on": "a key of the future"}))
    assert_holds(FeatureStore.open(store.path), CLIPS)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={}, durable=False)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thesis.tex").touch()
    with pytest.raises(StoreError, match="t exists"):
        FeatureStore.create(tmp_path / "t", streams=STREAMS, fingerprint={}, durable=False)
    (tmp_path / "u").touch()
    with pytest.raises(StoreError, match="u"):
        FeatureStore.create(tmp_path / "u", streams=STREAMS, fingerprint={}, durable=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "t", "u"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "parquet"}, "backend 'parquet' is not one of zarr, hdf5"),
        ({"streams": {}}, "at least one stream"),
        ({"streams": {"a/b": StreamSpec(2)}}, "stream name 'a/b' is not made of 1 to 100 ASCII letters"),
        ({"streams": {"a" * 101: StreamSpec(2)}}, "is not made of 1 to 100 ASCII letters"),
        ({"streams": {"a": 832}}, "stream 'a' is 832, not a StreamSpec"),
        ({"compression": {"codec": "zstd"}}, r"compression {'codec': 'zstd'} is not a Compression\("),
        ({"shard_steps": 0}, "shard_steps 0 is not"),
        ({"fingerprint": {"x": {1, 2}}}, "the fingerprint is not JSON"),
        ({"fingerprint": {"x": float("nan")}}, "the fingerprint is not JSON"),
        ({"fingerprint": {"x": {1: 2}}}, "fingerprint key x.1 is not a string"),
    ],
)
def test_a_store_that_makes_no_sense_is_not_made(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        FeatureStore.create(tmp_path / "s", **{"streams": STREAMS, "fingerprint": {}, **arguments})
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(("dim", "dtype"), [(0, "float16"), (3, "float64"), (3, "int8"), (2.5, "float16")])
def test_a_stream_has_a_width_and_a_float_dtype(dim: int, dtype: str) -> None:
    with pytest.raises(StoreError, match=r"stream (dim|dtype)"):
        StreamSpec(dim, dtype)


def test_a_shorter_file_is_an_error_not_zeros(store: FeatureStore) -> None:
    victim = list(CLIPS)[-1]
    file = store._index.position(victim)[0].extents["wide"].file
    os.truncate(store.path / file, 20)
    with pytest.raises(StoreError, match=r"has 20 bytes, \d+ needed: verify the store, repair it"):
        store.read(victim, "wide")
    (store.path / file).unlink()
    with pytest.raises(StoreError, match=r"cannot read .* \(No such file or directory\)"):
        FeatureStore.open(store.path).read(victim, "wide")


def test_a_folder_without_permission_gives_one_error() -> None:
    with tempfile.TemporaryDirectory() as folder:  # one that everybody may enter, which pytest's are not
        Path(folder).chmod(0o755)
        store = FeatureStore.create(Path(folder, "s"), streams=STREAMS, fingerprint={}, shard_steps=16, durable=False)
        with store.writer() as writer:
            writer.write("old", next(iter(CLIPS.values())))
        for path in ("index", "tmp"):
            (store.path / path).chmod(0o555)

        def write() -> None:
            with store.writer() as writer:
                writer.write("new", next(iter(CLIPS.values())))

        message = as_nobody(write)
        assert message.startswith(f"cannot write to {store.path}: Permission denied: what was committed before is inta")
        assert_holds(FeatureStore.open(store.path), {"old": next(iter(CLIPS.values()))})
        for path in ("index", "tmp"):
            (store.path / path).chmod(0o755)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_disk_that_is_full_gives_one_error_and_a_retry_succeeds(tmp_path: Path, backend: str) -> None:
    resource = pytest.importorskip("resource")
    store = FeatureStore.create(tmp_path / "s", backend=backend, streams=STREAMS, fingerprint={}, shard_steps=16)
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
    clip = {name: np.ones((16, spec.dim), spec.dtype) for name, spec in STREAMS.items()}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # the kernel refuses longer files, as a full disk does
    try:
        with pytest.raises(StoreError, match=r"cannot write to .*: File too large: .*\(12 clips\), 1 clips are not"):
            store.writer().write("new", clip)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_holds(FeatureStore.open(store.path), CLIPS)
    assert not list((store.path / "tmp").iterdir())
    assert not list((store.path / "index").glob("*.claim"))
    with store.writer() as writer:
        writer.write("new", clip)
    assert_holds(FeatureStore.open(store.path), {**CLIPS, "new": clip})


def test_temporary_files_are_removed_when_they_are_old(store: FeatureStore) -> None:
    old, young, strange = "01d" * 10 + "00", "f00d" * 8, "draft.tex"
    for name, age in [(old, 25), (young, 23), (strange, 25)]:
        path = store.path / "tmp" / name
        path.touch()
        os.utime(path, (time.time() - 3600 * age,) * 2)
    store.writer()
    assert sorted(path.name for path in (store.path / "tmp").iterdir()) == [strange, young]


def test_more_shards_than_open_files(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr("cache.places.local.MAX_OPEN_FILES", _Descriptor.num_open + 2)
    limited = FeatureStore.open(store.path)
    for _ in range(2):
        assert_holds(limited, CLIPS)
    assert len(limited._files.open_files) == 2
    another = FeatureStore.open(store.path)
    assert_holds(another, CLIPS)
    assert not another._files.open_files, "the limit is that of the process"


def test_a_claim_that_was_given_up_after_its_commit_is_not_taken_again() -> None:
    class Raced(MemoryFiles):
        """Between our look at the index and our claim, another writer commits that very shard."""

        other: FeatureStore | None = None

        def claim(self, path: str, data: bytes) -> bool:
            if self.other is not None:
                writer, self.other = self.other.writer(), None
                writer.write("theirs", CLIPS[next(iter(CLIPS))])
                writer.commit()
            return super().claim(path, data)

    files = Raced()
    ours = FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=files)
    files.other = FeatureStore.open("s", mode="a", files=files)
    with ours.writer() as writer:
        writer.write("ours", CLIPS[list(CLIPS)[1]])
    ours.refresh()
    assert_holds(ours, {"theirs": CLIPS[next(iter(CLIPS))], "ours": CLIPS[list(CLIPS)[1]]})
    assert sorted(ours._index.records) == [0, 1]
    assert not files.exists(claim_path(0))
    assert ours._index.next_shard() == 2


def test_a_store_frees_its_files(store: FeatureStore) -> None:
    def num_open() -> int:
        links = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
        return sum(link.is_relative_to(store.path) for link in links)

    assert_holds(store, CLIPS)
    assert num_open() == 2 * len(store._index.records)
    store._files.close()
    assert num_open() == 0
    again = FeatureStore.open(store.path)
    assert_holds(again, CLIPS)
    del again
    assert num_open() == 0, "at once, not when the garbage collector comes by"


def test_fingerprints_are_compared_by_meaning() -> None:
    assert canonical({"b": [1, 2.5, None], "a": "ä"}) == '{"a":"ä","b":[1,2.5,null]}'
    assert fingerprint_hash({"a": (1, 2)}) == fingerprint_hash({"a": [1, 2]})
    assert differences({"a": {"x": 1, "y": 2}, "b": []}, {"a": {"x": 1, "y": 3}, "c": {}}) == [
        "a.y is 2 here, 3 expected",
        "b is [] here, missing expected",
        "c is missing here, {} expected",
    ]


def test_text_that_is_no_unicode_is_refused_before_anything_is_lost(store: FeatureStore) -> None:
    clip = next(iter(CLIPS.values()))
    bad = b"clip-\xff".decode(errors="surrogateescape")
    with store.writer() as writer:
        writer.write("before", clip)
        with pytest.raises(StoreError, match=r"clip 'clip-\\udcff': a clip id is a text that is not empty, in Unicode"):
            writer.write(bad, clip)
        with pytest.raises(StoreError, match=r"clip 'c': its source 'clip-\\udcff' is not a text in Unicode"):
            writer.write("c", clip, source=bad)
    assert_holds(FeatureStore.open(store.path), {**CLIPS, "before": clip})
    with pytest.raises(StoreError, match="the fingerprint is not JSON"):
        canonical({"video": bad})


def test_keys_with_dots_are_told_from_keys_within_keys() -> None:
    assert differences({"x.y": 1, "x": {"y": 3}}, {"x.y": 2, "x": {"y": 3}}) == ['"x.y" is 1 here, 2 expected']


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ma.array(np.ones((3, 6), np.float16), mask=np.eye(3, 6)), "clip 'odd', stream 'wide' has a mask"),
        ([[1.0], [1.0, 2.0]], "clip 'odd', stream 'wide' is no array"),
    ],
    ids=["masked", "ragged"],
)
def test_what_would_lose_something_silently_is_refused(store: FeatureStore, rows: Any, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.writer().write("odd", {"wide": rows, "narrow": np.ones((3, 3), np.float32)})
