import json
from pathlib import Path

import numpy as np
import pytest
from stores import STREAMS, tree

from cache import Compression, FeatureStore
from cache.care.verify import verify
from cache.seal import seal
from slt_pipeline.errors import SltError

FINGERPRINT = {"encoder_weights": "5f3a" * 16, "transform": {"size": 224, "mean": [0.5]}, "slt": "1.0.0"}
LENGTHS = {"c0": 3, "日本/雨": 5, "c2": 4}


def features(number: int, steps: int) -> dict[str, np.ndarray]:
    return {name: np.full((steps, spec.dim), number, np.float32) for name, spec in STREAMS.items()}


@pytest.fixture
def make_store(here):
    """Make the store `features` of clips of so many steps, clip i all i; the first two fill a shard of 8 steps."""

    def make(lengths=None, **options):
        arguments = {"streams": STREAMS, "fingerprint": FINGERPRINT, "shard_steps": 8, "durable": False, **options}
        store = FeatureStore.create(here / "features", **arguments)
        with store.writer() as writer:
            for number, (clip_id, steps) in enumerate((lengths or LENGTHS).items()):
                writer.write(clip_id, features(number, steps), source=f"of {clip_id}")
        return store.path

    return make


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 16
    path.write_bytes(data)


def test_info_shows_what_is_in_a_store_and_what_made_it(slt, make_store, here):
    make_store()
    lines = slt("cache", "info", "features").output.splitlines()
    on_disk = next(line for line in lines if line.startswith("  on disk"))
    assert on_disk.endswith("bytes)")
    lines.remove(on_disk)
    assert lines == [
        f"{here}/features",
        "  backend           zarr",
        "  compression       none",
        "  clips             3",
        "  steps             12 in all, 5 in the longest clip",
        "  shards            2 of up to 8 steps, 75.0% full",
        "  features          192 B (192 bytes)",
        "  unfinished files  0",
        "streams",
        "  s3d            4 x float16  96 B (96 bytes)",
        "  gloss_rep      2 x float32  96 B (96 bytes)",
        "fingerprint df14f80ae273",
        f"  encoder_weights  {'5f3a' * 16}",
        "  slt              1.0.0",
        "  transform.mean   [0.5]",
        "  transform.size   224",
    ]


def test_info_shows_compression_and_leftovers(slt, make_store):
    path = make_store(compression=Compression("blosc", 9, keep_bits=7, chunk_steps=8))
    (path / "tmp" / ("f00d" * 8)).write_bytes(b"12345")
    shown = slt("cache", "info", "features").output
    assert "  compression       codec blosc, level 9, keep_bits 7, chunk_steps 8\n" in shown
    assert "  unfinished files  1, 5 B (5 bytes)\n" in shown


def test_info_keeps_every_value_of_the_fingerprint_on_its_line(slt, make_store):
    make_store(fingerprint={"note": "two\nlines \x1b[31m", "empty": "", "number": 1, "text": "1", "none": None})
    assert slt("cache", "info", "features").output.splitlines()[-5:] == [
        '  empty   ""',
        "  none    null",
        r'  note    "two\nlines \u001b[31m"',
        "  number  1",
        '  text    "1"',
    ]


def test_info_as_json_is_one_object(slt, make_store, here):
    make_store(backend="hdf5")
    facts = json.loads(slt("cache", "info", "features", "--json").output)
    assert facts.pop("bytes_on_disk") > 0
    assert facts == {
        "path": f"{here}/features",
        "backend": "hdf5",
        "clips": 3,
        "steps": 12,
        "longest_clip": 5,
        "shards": 2,
        "shard_steps": 8,
        "fill": 0.75,
        "bytes": 192,
        "unfinished_files": 0,
        "unfinished_bytes": 0,
        "lost_files": 0,
        "lost_bytes": 0,
        "compression": None,
        "streams": {"s3d": {"dim": 4, "dtype": "float16"}, "gloss_rep": {"dim": 2, "dtype": "float32"}},
        "fingerprint": FINGERPRINT,
        "recorded": {},
    }


def test_a_sound_store_verifies_with_status_0(slt, make_store, here):
    make_store()
    before = tree(here)
    run = slt("cache", "verify", "features")
    assert (run.exit_code, run.output) == (0, "features: all is well\n")
    assert tree(here) == before


def test_a_flipped_bit_is_named_with_its_file_and_clip_and_ends_with_status_1(slt_process, make_store):
    path = make_store()
    flip(path / "data" / "s3d" / "c.0.0", 3 * 4 * 2)  # the first byte of the second clip
    before = tree(path)
    run = slt_process("cache", "verify", path)
    expected = "data/s3d/c.0.0: checksums of stream 's3d' do not match: 1 clips are lost: 日本/雨\n"
    assert (run.returncode, run.stdout, run.stderr) == (1, expected, "")
    assert tree(path) == before


def test_where_there_is_no_store_verify_is_one_line_and_status_2(slt_process, here):
    run = slt_process("cache", "verify", here / "nowhere")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith(f"slt: error: there is no feature store at {here}/nowhere")


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_lost_file_is_named_with_the_first_of_its_clips(slt, make_store, backend):
    path = make_store(dict.fromkeys((f"c{number}" for number in range(8)), 1), backend=backend)
    file = "data/gloss_rep/c.0.0" if backend == "zarr" else "data/00000000.h5"
    (path / file).unlink()
    run = slt("cache", "verify", "features")
    assert run.exit_code == 1
    assert run.output == f"{file}: No such file or directory: 8 clips are lost: c0, c1, c2, c3, c4 and 3 more\n"


def test_a_damaged_record_of_the_index_is_named(slt, make_store):
    path = make_store()
    flip(path / "index" / "00000001.json", 20)
    run = slt("cache", "verify", "features")
    stands = "data/gloss_rep/c.1.0.json stands for it, of which repair makes it anew: no clip is lost\n"
    assert (run.exit_code, run.output) == (1, f"index/00000001.json: its checksum does not match; {stands}")
    flip(path / "data" / "gloss_rep" / "c.1.0.json", 20)
    run = slt("cache", "verify", "features")
    assert (run.exit_code, run.output) == (1, "index/00000001.json: its checksum does not match: its clips are lost\n")


def test_repair_drops_what_is_damaged_and_keeps_the_rest(slt, make_store):
    path = make_store()
    flip(path / "data" / "s3d" / "c.0.0", 0)
    run = slt("cache", "repair", "features")
    assert (run.exit_code, run.stdout) == (0, "features: 1 clips dropped\n  c0\n")
    assert run.stderr.startswith("features: 1 clips go to features/lost: c0; `slt cache restore features` brings back")
    assert verify(path) == []
    store = FeatureStore.open(path)
    assert sorted(store) == ["c2", "日本/雨"]
    assert store.read("日本/雨", "s3d").tolist() == [[1.0] * 4] * 5
    assert store.source("日本/雨") == "of 日本/雨"
    assert slt("cache", "repair", "features").output == "features: 0 clips dropped\n"


def test_repair_removes_what_killed_writers_left(slt, make_store):
    path = make_store()
    before = tree(path)
    (path / "index" / "00000002.claim").write_bytes(
        seal({"store": FeatureStore.open(path)._header.id, "writer": "dead"})
    )
    (path / "tmp" / ("f00d" * 8)).write_bytes(b"1")
    (path / "data" / "s3d" / "c.2.0").write_bytes(b"2")
    assert slt("cache", "repair", "features").output == "features: 0 clips dropped\n"
    assert (path / "lost" / "data" / "s3d" / "c.2.0").read_bytes() == b"2"
    slt("cache", "rm", "features", "--purge", "--yes")
    assert {name: data for name, data in tree(path).items() if data is not None and not name.endswith(".gone")} == {
        name: data for name, data in before.items() if data is not None
    }


def test_a_dry_run_of_repair_lists_the_clips_and_changes_no_byte(slt, make_store):
    path = make_store()
    flip(path / "data" / "s3d" / "c.0.0", 0)
    flip(path / "data" / "gloss_rep" / "c.0.0", 3 * 2 * 4)
    flip(path / "index" / "00000001.json", 20)
    flip(path / "data" / "gloss_rep" / "c.1.0.json", 20)
    (path / "tmp" / ("f00d" * 8)).write_bytes(b"1")
    before = tree(path)
    run = slt("cache", "repair", "features", "--dry-run")
    assert run.exit_code == 0
    assert run.output.splitlines() == [
        "index/00000001.json: its checksum does not match: its clips are lost",
        "data/s3d/c.0.0: checksums of stream 's3d' do not match: 1 clips are lost: c0",
        "data/gloss_rep/c.0.0: checksums of stream 'gloss_rep' do not match: 1 clips are lost: 日本/雨",
        "features: 2 clips would be dropped, and those of 1 index records that cannot be read",
        "  c0",
        "  日本/雨",
    ]
    assert tree(path) == before


def test_a_dry_run_of_repair_of_a_sound_store_finds_nothing(slt, make_store):
    make_store()
    run = slt("cache", "repair", "features", "--dry-run")
    assert (run.exit_code, run.output) == (0, "features: 0 clips would be dropped\n")


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_damaged_header_cannot_be_repaired_and_a_dry_run_says_so_too(slt, make_store, flags):
    from cache import StoreError

    path = make_store()
    flip(path / "store.json", 30)
    before = tree(path)
    with pytest.raises((SltError, StoreError), match=r"copy of (it|its store\.json), (it|which) never changes"):
        slt("cache", "repair", "features", *flags)
    assert tree(path) == before


def test_ids_that_would_break_a_line_are_quoted(slt, make_store):
    path = make_store({"two\nlines": 1, "c1": 1})
    (path / "data" / "s3d" / "c.0.0").unlink()
    assert r'2 clips are lost: "two\nlines", c1' in slt("cache", "verify", "features").output
    run = slt("cache", "repair", "features", "--yes")
    assert run.stdout.splitlines()[1:] == ["  c1", r'  "two\nlines"']


@pytest.mark.parametrize("command", [("repair",), ("repair", "--dry-run"), ("rm",), ("rm", "--clips", "-")])
def test_a_store_that_would_be_changed_is_no_url(slt, command):
    with pytest.raises(SltError, match=r"s3://bucket/features is an object store, which is read only"):
        slt("cache", *command, "s3://bucket/features")


@pytest.mark.parametrize("name", ["nowhere", "empty", "notes.txt"])
@pytest.mark.parametrize("command", ["info", "repair", "diff", "convert", "subset", "merge"])
def test_what_is_no_store_is_refused_by_name_and_nothing_is_made(slt, here, command, name):
    from cache import StoreError

    (here / "empty").mkdir()
    (here / "notes.txt").write_text("mine")
    arguments = {"diff": [name], "convert": ["new"], "subset": ["new", "--streams", "s3d"], "merge": ["new"]}
    before = tree(here)
    with pytest.raises((StoreError, NotADirectoryError), match=f"{here}/{name}"):
        slt("cache", command, name, *arguments.get(command, []))
    assert tree(here) == before


def test_a_store_can_be_read_at_a_url(slt, make_store, here):
    make_store()
    url = f"file://{here}/features"
    assert slt("cache", "info", url).output.splitlines()[0] == url
    assert slt("cache", "verify", url).output == f"{url}: all is well\n"
    assert slt("cache", "diff", url, "features").exit_code == 0
