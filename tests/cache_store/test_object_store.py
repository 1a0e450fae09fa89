"""A store that was copied to an object store is read in place: the same numbers, few bytes, one line where it fails."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from object_server import URL, ObjectServer, s3_from

from cache import Compression, FeatureStore, StoreError, StreamSpec
from cache.care.convert import convert
from cache.care.delete import delete
from cache.care.repair import remove, repair
from cache.care.verify import info, verify
from cache.places.objects import PATIENCE, ObjectFiles
from cache.testing import FINGERPRINT, STREAMS, assert_holds, make_clips

CLIPS = make_clips(20)
ONE, *_, LAST = CLIPS
FULL_SHARD = {name: np.ones((16, spec.dim), spec.dtype) for name, spec in STREAMS.items()}
KINDS = pytest.mark.parametrize(
    ("backend", "compression"),
    [
        ("zarr", None),
        ("hdf5", None),
        ("zarr", Compression("blosc", chunk_steps=8)),
        ("zarr", Compression("zstd", chunk_steps=4)),
        ("hdf5", Compression("gzip", chunk_steps=16)),
    ],
    ids=["zarr", "hdf5", "blosc", "zstd", "gzip"],
)


def make(folder: Path, **options: Any) -> FeatureStore:
    """Make a store of `CLIPS`."""
    store = FeatureStore.create(
        folder, streams=STREAMS, fingerprint=FINGERPRINT, shard_steps=16, durable=False, **options
    )
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features, source=clip_id[5:8])
    return FeatureStore.open(folder)


def refusal(call: Callable[[], Any]) -> str:
    """Return the one line that a call is refused with."""
    with pytest.raises(StoreError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with s3_from(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, server: ObjectServer) -> Path:
    """Make a plain store whose URL is `URL`."""
    return Path(make(tmp_path / "bucket" / "features").path)


# Reading


@KINDS
@pytest.mark.parametrize("scheme", ["s3", "file", "http"])
def test_a_url_yields_what_its_folder_yields(
    tmp_path: Path, server: ObjectServer, backend: str, compression: Compression | None, scheme: str
) -> None:
    local = make(tmp_path / "bucket" / "features", backend=backend, compression=compression)
    urls = {"s3": URL, "file": Path(local.path).as_uri(), "http": f"{server.address}/bucket/features"}
    store = FeatureStore.open(urls[scheme], fingerprint=FINGERPRINT)
    assert store.keys() == local.keys()
    assert_holds(store, CLIPS)
    for clip_id in CLIPS:
        assert store.length(clip_id) == local.length(clip_id)
        assert store.source(clip_id) == clip_id[5:8]
        for start, stop in [(1, None), (None, -1), (2, 1), (-2, 100)]:
            np.testing.assert_array_equal(
                store.read(clip_id, "wide", start, stop), local.read(clip_id, "wide", start, stop), strict=True
            )
    some = list(CLIPS)[::-3]
    for held in (store, FeatureStore.open(f"{urls[scheme]}/", resident="yes")):
        for stream in STREAMS:
            for clips in ([], some):
                for found, expected in zip(
                    held.read_batch(clips, stream), local.read_batch(clips, stream), strict=True
                ):
                    np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("name", ["a b", "ä", "x+y", "50%"])
def test_a_folder_may_have_any_name(tmp_path: Path, server: ObjectServer, name: str) -> None:
    make(tmp_path / "bucket" / name)
    assert_holds(FeatureStore.open(f"s3://bucket/{name.replace('%', '%25')}"), CLIPS)
    assert_holds(FeatureStore.open((tmp_path / "bucket" / name).as_uri()), CLIPS)


@KINDS
def test_info_verify_and_convert_take_a_url(
    tmp_path: Path, server: ObjectServer, backend: str, compression: Compression | None
) -> None:
    local = make(tmp_path / "bucket" / "features", backend=backend, compression=compression)
    (tmp_path / "bucket" / "features" / "index" / "00000099.claim").touch()
    facts, expected = info(FeatureStore.open(URL)), info(local)
    del facts["bytes_on_disk"], expected["bytes_on_disk"]  # a disk counts blocks, an object store bytes
    assert facts == {**expected, "path": URL}
    assert facts["unfinished_files"] == 1
    assert verify(URL) == []
    other = "hdf5" if backend == "zarr" else "zarr"
    copy = convert(FeatureStore.open(URL), tmp_path / "copy", backend=other, compression=None)
    assert_holds(copy, CLIPS)
    assert copy.source(ONE) == ONE[5:8]


def test_verify_finds_what_is_damaged_behind_a_url(folder: Path) -> None:
    file = folder / FeatureStore.open(folder)._index.records[0].extents["wide"].file
    data = bytearray(file.read_bytes())
    data[3] ^= 16
    file.write_bytes(data)
    (folder / "data" / "narrow" / "c.1.0").unlink()
    missing, flipped = sorted(verify(URL), key=lambda damage: damage.file)
    assert str(flipped) == f"data/wide/c.0.0: checksums of stream 'wide' do not match: {ONE!r}"
    assert missing.file == "data/narrow/c.1.0"
    assert missing.reason == "No such file or directory"


# What is fetched


def test_a_clip_of_a_large_shard_costs_its_own_bytes(tmp_path: Path, server: ObjectServer) -> None:
    streams = {"wide": StreamSpec(64)}  # 128 bytes a step, so 512 KiB a shard
    store = FeatureStore.create(tmp_path / "bucket" / "features", streams=streams, fingerprint={}, durable=False)
    with store.writer() as writer:
        for number in range(200):
            writer.write(f"{number}", {"wide": np.full((20, 64), number, np.float16)})
    store = FeatureStore.open(URL)
    server.sent()
    assert store.read("150", "wide").tolist() == [[150.0] * 64] * 20
    assert [num_bytes for _, _, num_bytes in server.requests] == [20 * 128]
    server.sent()
    store.read("150", "wide", 2, 5)
    assert server.sent() == 3 * 128
    store.read("150", "wide", 5, 5)
    store.read_batch([], "wide")
    assert server.sent() == 0
    store.read_batch(["7", "150", "199"], "wide")
    assert [num_bytes for _, _, num_bytes in server.requests] == [20 * 128] * 3


def test_a_clip_of_a_compressed_shard_costs_the_pieces_that_hold_it(tmp_path: Path, server: ObjectServer) -> None:
    make(tmp_path / "bucket" / "features", compression=Compression("zstd", chunk_steps=4))
    store = FeatureStore.open(URL)
    for clip_id in CLIPS:
        record, position = store._index.position(clip_id)
        first, last = record.rows[position], record.rows[position] + record.lengths[position] - 1
        pieces = (record.extents["wide"].pieces or [])[first // 4 : last // 4 + 1]
        server.sent()
        store.read(clip_id, "wide")
        assert server.sent() == sum(stop - start for start, stop in pieces)


def test_opening_costs_the_header_and_the_index(folder: Path, server: ObjectServer) -> None:
    FeatureStore.open(URL)
    asked = [path.split("?")[0] for _, path, _ in server.requests]
    num_records = len(list((folder / "index").iterdir()))
    assert asked.count("/bucket/features/store.json") == 2  # is it there, and what is in it
    assert asked.count("/bucket") == -(-num_records // 2)  # pages of the list
    assert len(asked) == 2 + -(-num_records // 2) + num_records


def test_a_long_range_comes_in_parts(folder: Path, server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.places.objects.PART", 50)
    store = FeatureStore.open(URL, resident="yes")
    server.sent()
    assert_holds(store, CLIPS)
    assert max(num_bytes for _, _, num_bytes in server.requests) == 50
    assert server.sent() == sum(array.nbytes for features in CLIPS.values() for array in features.values())


# What is refused


@pytest.mark.parametrize(
    "change",
    [
        lambda: FeatureStore.create("s3://bucket/new", streams=STREAMS, fingerprint={}),
        lambda: FeatureStore.create(URL, streams=STREAMS, fingerprint={}),
        lambda: FeatureStore.open(URL, mode="a"),
        lambda: FeatureStore(ObjectFiles(URL), "a").writer().write("new", FULL_SHARD),
        lambda: repair(URL),
        lambda: remove(URL, [ONE]),
        lambda: delete(URL),
        lambda: convert(FeatureStore.open(URL), "s3://bucket/copy"),
    ],
    ids=["create", "create where one is", "mode a", "write", "repair", "remove", "delete", "convert to a URL"],
)
def test_an_object_store_is_not_written(folder: Path, change: Callable[[], Any]) -> None:
    (folder / "tmp" / "left-by-a-killed-writer").touch()
    before = sorted(path.name for path in folder.rglob("*"))
    assert "is an object store, which is read only: " in refusal(change)
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert_holds(FeatureStore.open(URL), CLIPS)


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "claim", "remove", "age"])
def test_no_operation_that_changes_a_file_is_inherited(server: ObjectServer, operation: str) -> None:
    arguments = {"rename": ("a", "b"), "claim": ("a", b""), "write": ("a", []), "create": ({},)}.get(operation, ("a",))
    assert refusal(lambda: getattr(ObjectFiles(URL), operation)(*arguments)) == (
        f"{URL} is an object store, which is read only: change a local copy and upload that"
    )


# What is not there


def test_a_store_that_is_not_there_is_named(tmp_path: Path, folder: Path) -> None:
    assert refusal(lambda: FeatureStore.open("s3://bucket/nothing")) == (
        "there is no feature store at s3://bucket/nothing: make it first"
    )
    assert refusal(lambda: verify("s3://bucket/nothing")) == "there is no feature store at s3://bucket/nothing"
    assert FeatureStore.exists(URL)
    assert not FeatureStore.exists("s3://bucket/nothing")
    absent = (tmp_path / "nothing").as_uri()
    assert refusal(lambda: FeatureStore.open(absent)) == (f"there is no feature store at {absent}: make it first")
    assert not FeatureStore.exists(absent)


@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_a_file_that_is_missing_or_short_is_named(folder: Path, scheme: str) -> None:
    url = URL if scheme == "s3" else folder.as_uri()
    copy_again = "verify the store that was copied, then copy it again"
    store = FeatureStore.open(url)
    record, position = store._index.position(LAST)
    file, start = record.extents["wide"].file, record.rows[position] * 12
    needed = start + record.lengths[position] * 12
    for size in (needed - 1, start, 1):  # within the clip, and before it
        os.truncate(folder / file, size)
        for read in (lambda: store.read(LAST, "wide"), lambda: store.read_batch([ONE, LAST], "wide")):
            assert refusal(read) == f"{url}/{file} has {size} bytes, {needed} needed: {copy_again}"
    (folder / file).unlink()
    assert refusal(lambda: store.read(LAST, "wide")) == (
        f"cannot read {url}/{file} (No such file or directory): {copy_again}"
    )
    assert "No such file or directory" in refusal(lambda: FeatureStore.open(url, resident="yes").read(ONE, "wide"))


@pytest.mark.parametrize(("status", "words"), [(403, "403 Forbidden"), (500, "500 Internal Server Error")])
@pytest.mark.parametrize("part", ["store.json", "list-type=2", "index/", "data/wide"])
def test_what_a_server_refuses_is_one_line(
    folder: Path, server: ObjectServer, part: str, status: int, words: str
) -> None:
    server.failures.append((part, status))
    text = refusal(lambda: FeatureStore.open(URL).read_batch(list(CLIPS), "wide"))
    assert text.startswith(f"cannot read {URL}/{'index' if part == 'list-type=2' else part}")
    assert words in text
    assert text.endswith(
        "check the URL and the settings in the environment (endpoint, region, credentials: AWS_ENDPOINT_URL, ...)"
    )
    server.failures.clear()
    assert_holds(FeatureStore.open(URL), CLIPS)


def test_a_server_that_stumbles_is_asked_again(
    folder: Path, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cache.places.objects.PATIENCE", {**PATIENCE, "backoff": {"init_backoff": timedelta(milliseconds=1)}}
    )
    store = FeatureStore.open(URL)
    server.stumbles = 3
    np.testing.assert_array_equal(store.read(ONE, "wide"), CLIPS[ONE]["wide"], strict=True)
    assert server.stumbles == 0


def test_a_server_that_is_not_there_is_given_up(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", nowhere)
        monkeypatch.setattr("cache.places.objects.PATIENCE", {**PATIENCE, "max_retries": 1})
        text = refusal(lambda: FeatureStore.open(URL))
    assert text.startswith(f"cannot read {URL}/store.json (Generic S3 error: Error performing HEAD {nowhere}/bucket/")
    assert "max_retries: 1, retry_timeout: 40s" in text
    assert "AWS_ENDPOINT_URL" in text


def test_a_server_that_never_answers_is_given_up(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_TIMEOUT", "100ms")
        monkeypatch.setattr("cache.places.objects.PATIENCE", {**PATIENCE, "retry_timeout": timedelta(seconds=0.15)})
        assert "after 1 retries" in refusal(lambda: FeatureStore.open(URL))


@pytest.mark.parametrize(
    ("url", "settings", "message"),
    [
        ("ftp://host/features", {}, r"cannot open the object store ftp://host/features \(.*Unable to recognise URL"),
        (URL, {"AWS_ALLOW_HTTP": "maybe"}, r'cannot open .*failed to parse "maybe" as boolean'),
        (URL, {"AWS_ENDPOINT_URL": "minio:9000"}, r"AWS_ENDPOINT_URL is 'minio:9000', which is no URL"),
        (URL, {"AWS_ENDPOINT_URL_S3": ""}, r"AWS_ENDPOINT_URL_S3 is '', which is no URL"),
        (URL, {"AWS_ALLOW_HTTP": None}, r"is http://127.*, which is not encrypted: set AWS_ALLOW_HTTP=true"),
    ],
)
def test_settings_that_cannot_work_are_named_at_once(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch, url: str, settings: dict[str, str | None], message: str
) -> None:
    for name, setting in settings.items():
        monkeypatch.delenv(name) if setting is None else monkeypatch.setenv(name, setting)
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(url)


def test_a_web_server_that_lists_no_folders_is_told_apart(folder: Path, server: ObjectServer) -> None:
    server.failures.append(("features/index", 405))
    text = refusal(lambda: FeatureStore.open(f"{server.address}/bucket/features"))
    assert "405 Method Not Allowed" in text
    assert text.endswith("check the URL; a web server must also list its folders, by WebDAV's PROPFIND")


def test_without_obstore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert refusal(lambda: FeatureStore.open(URL)) == f"{URL} needs obstore: pip install 'slt-pipeline[s3]'"
