import json

import numpy as np
import pytest
from stores import STREAMS, tree

from cache import FeatureStore, StoreError
from cache.care.verify import verify
from slt_pipeline.errors import SltError

NOT_CONFIRMED = "^nothing was removed, as that was not confirmed; --yes does not ask$"


@pytest.fixture
def make_store(here):
    """Make a store of clips of 3 steps, clip i all i, two in a shard."""

    def make(name="features", clips=("c0", "c1", "日本/雨"), **options):
        store = FeatureStore.create(
            here / name, streams=STREAMS, fingerprint={}, shard_steps=6, durable=False, **options
        )
        with store.writer() as writer:
            for number, clip_id in enumerate(clips):
                rows = {stream: np.full((3, spec.dim), number, np.float32) for stream, spec in STREAMS.items()}
                writer.write(clip_id, rows)
        return store.path

    return make


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_whole_store_is_removed_and_its_neighbours_stay(slt, make_store, here, backend):
    (here / "notes.txt").write_text("keep")
    make_store("other")
    before = tree(here)
    make_store(backend=backend)
    run = slt("cache", "rm", "features", "--yes")
    assert run.exit_code == 0
    lines = run.output.splitlines()
    assert lines[0].startswith("features: the whole store, ")
    assert lines[0].endswith("B on disk")
    assert lines[1:] == ["features: removed"]
    assert tree(here) == before


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "no\n"])
@pytest.mark.parametrize("options", [(), ("--clips", "ids.txt")])
def test_without_a_yes_nothing_is_removed(slt_reading, make_store, here, answer, options):
    (here / "ids.txt").write_text("c1\n")
    make_store()
    before = tree(here)
    with pytest.raises(SltError, match=NOT_CONFIRMED):
        slt_reading(answer, "cache", "rm", "features", *options)
    assert tree(here) == before


def test_a_yes_removes_it(slt_reading, make_store, here):
    make_store()
    run = slt_reading("y\n", "cache", "rm", "features")
    assert run.exit_code == 0
    assert "Remove this for good? [y/N]" in run.stderr
    assert run.stdout.endswith("features: removed\n")
    assert not (here / "features").exists()


def test_where_nobody_is_there_to_answer_it_ends_with_status_2(slt_process, make_store, here):
    path = make_store()
    before = tree(here)
    run = slt_process("cache", "rm", path)
    assert run.returncode == 2
    assert run.stdout.count("\n") == 1
    assert run.stderr.splitlines()[-1] == f"slt: error: {NOT_CONFIRMED.strip('^$')}"
    assert "Traceback" not in run.stderr
    assert tree(here) == before


@pytest.mark.parametrize("options", [(), ("--clips", "ids.txt")])
def test_a_dry_run_does_not_ask_and_changes_no_byte(slt, make_store, here, options):
    (here / "ids.txt").write_text("c1\n")
    make_store()
    make_store("other")
    before = tree(here)
    run = slt("cache", "rm", "features", "other", "--dry-run", *options)
    assert run.exit_code == 0
    assert [line.partition(":")[0] for line in run.output.splitlines() if line[0] != " "] == ["features", "other"]
    assert "Remove" not in run.output
    assert tree(here) == before


def test_several_stores_are_removed_after_one_question(slt_reading, make_store, here):
    for name in ("a", "b", "c"):
        make_store(name)
    run = slt_reading("y\n", "cache", "rm", "a", "b")
    assert run.stderr.count("Remove this for good?") == 1
    assert run.stdout.splitlines()[2:] == ["a: removed", "b: removed"]
    assert [path.name for path in here.iterdir()] == ["c"]


def test_a_store_that_is_named_twice_is_removed_once(slt, make_store, here):
    make_store()
    run = slt("cache", "rm", "features", "./features", here / "features", "features/", "--yes")
    assert run.exit_code == 0
    assert run.output.splitlines()[1:] == ["features: removed"]


def test_if_one_of_several_is_no_store_none_is_removed(slt, make_store, here):
    make_store()
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("keep")
    before = tree(here)
    for names in (("features", "mine"), ("mine", "features"), ("features", "nowhere")):
        with pytest.raises(StoreError, match=r"there is no feature store at (mine|nowhere), so nothing was deleted"):
            slt("cache", "rm", *names, "--yes")
    assert tree(here) == before


def test_a_folder_that_is_no_store_is_left_alone(slt_process, here):
    (here / "data").mkdir()
    (here / "data" / "clip.mp4").write_bytes(b"mine")
    before = tree(here)
    run = slt_process("cache", "rm", here, "--yes")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"slt: error: there is no feature store at {here}, so nothing was deleted\n"
    assert tree(here) == before


def test_a_store_with_a_file_of_somebody_is_left_alone(slt, make_store, here):
    (make_store() / "notes.txt").write_text("keep")
    before = tree(here)
    with pytest.raises(StoreError, match=r"features holds 'notes\.txt', which is no part of a store, so nothing was"):
        slt("cache", "rm", "features", "--yes")
    assert tree(here) == before


def test_a_link_to_a_store_is_left_alone(slt, make_store, here):
    make_store()
    (here / "link").symlink_to("features")
    before = tree(here)
    with pytest.raises(StoreError, match="link is a link to features, so nothing was deleted: name the store itself"):
        slt("cache", "rm", "link", "--yes")
    assert tree(here) == before


def test_clips_that_are_named_go_and_the_others_stay(slt, make_store, here):
    path = make_store()
    (here / "ids.txt").write_text("日本/雨\nc0\n", encoding="utf-8")
    run = slt("cache", "rm", "features", "--clips", "ids.txt", "--yes")
    assert run.exit_code == 0
    assert run.output.splitlines() == [
        "features: 2 of 3 clips, 96 B",
        "  2 named for removal",
        "features: 2 clips removed; `slt cache restore features` brings them back",
    ]
    store = FeatureStore.open(path)
    assert store.keys() == ["c1"]
    assert store.read("c1", "gloss_rep").tolist() == [[1.0, 1.0]] * 3
    assert verify(path) == []


def test_a_dry_run_lists_every_clip(slt, make_store, here):
    make_store(clips=["c0", "two\nlines"])
    (here / "ids.txt").write_text("c0\n")
    run = slt("cache", "rm", "features", "--clips", "ids.txt", "--dry-run")
    assert run.output.splitlines() == [
        "features: 1 of 2 clips, 48 B",
        "  1 named for removal",
        "    c0: named for removal",
    ]


def test_ids_come_from_a_pipe_if_nothing_is_asked(slt_reading, make_store):
    path = make_store()
    assert slt_reading("c1\r\nc0\n", "cache", "rm", "features", "--clips", "-", "--yes").exit_code == 0
    assert FeatureStore.open(path).keys() == ["日本/雨"]


def test_clips_go_from_every_store_that_has_them(slt, make_store, here):
    make_store("a", ["c0", "c1"])
    make_store("b", ["c1", "c2"])
    make_store("c", ["c2"])
    (here / "ids.txt").write_text("c1\n")
    run = slt("cache", "rm", "a", "b", "c", "--clips", "ids.txt", "--yes")
    assert run.stdout.splitlines() == [
        "a: 1 of 2 clips, 48 B",
        "  1 named for removal",
        "b: 1 of 2 clips, 48 B",
        "  1 named for removal",
        "c: 0 of 1 clips, 0 B",
        "a: 1 clips removed; `slt cache restore a` brings them back",
        "b: 1 clips removed; `slt cache restore b` brings them back",
    ]
    assert run.stderr == "c: 1 of the clips named are not in it: c1\n"
    assert [FeatureStore.open(name).keys() for name in "abc"] == [["c0"], ["c2"], ["c2"]]


def test_clips_that_are_not_there_are_told_and_the_rest_goes(slt, make_store, here):
    path = make_store()
    (here / "ids.txt").write_text("c1\nnobody\n")
    run = slt("cache", "rm", "features", "--clips", "ids.txt", "--yes")
    assert run.stderr == "features: 1 of the clips named are not in it: nobody\n"
    assert sorted(FeatureStore.open(path)) == ["c0", "日本/雨"]


def test_a_second_run_finds_nothing_to_do_and_does_not_ask(slt, make_store, here):
    make_store()
    (here / "ids.txt").write_text("c1\n")
    slt("cache", "rm", "features", "--clips", "ids.txt", "--yes")
    before = tree(here)
    run = slt("cache", "rm", "features", "--clips", "ids.txt")
    assert (run.exit_code, run.stdout) == (0, "features: 0 of 2 clips, 0 B\n")
    assert tree(here) == before


def test_what_killed_writers_left_goes_with_the_clips(slt, make_store, here):
    path = make_store()
    (here / "ids.txt").write_text("nobody\n")
    before = tree(here)
    (path / "tmp" / ("f00d" * 8)).write_bytes(b"12345")
    run = slt("cache", "rm", "features", "--clips", "ids.txt", "--yes")
    assert run.stdout.splitlines() == [
        "features: 0 of 3 clips, 0 B; 1 leftovers of killed writers, 5 B",
        "features: 0 clips removed",
    ]
    assert tree(here) == before


def test_if_one_of_several_stores_cannot_be_opened_no_clip_is_removed(slt, make_store, here):
    make_store()
    (here / "ids.txt").write_text("c1\n")
    before = tree(here)
    with pytest.raises(StoreError, match=f"there is no feature store at {here}/nowhere"):
        slt("cache", "rm", "features", "nowhere", "--clips", "ids.txt", "--yes")
    assert tree(here) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("features --clips ids.txt --unused", "--clips and --unused both say which clips: give one of them"),
        ("features -r demo/mmtlb", "--recipe goes with --unused"),
        ("features --clips ids.txt -o seed=3", "--override goes with --unused"),
        ("features --clips nowhere.txt", "File 'nowhere.txt' does not exist"),
        ("--yes", "Missing argument 'STORE...'"),
    ],
)
def test_what_is_not_said_well_removes_nothing(slt, make_store, here, options, message):
    make_store()
    (here / "ids.txt").write_text("c1\n")
    before = tree(here)
    run = slt("cache", "rm", *options.split())
    assert run.exit_code == 2
    assert message in run.output
    assert tree(here) == before


def test_a_file_that_names_no_clip_removes_nothing(slt, make_store, here):
    make_store()
    (here / "ids.txt").write_text("\n")
    before = tree(here)
    with pytest.raises(SltError, match=r"ids\.txt names no clip: it should have one clip id a line"):
        slt("cache", "rm", "features", "--clips", "ids.txt", "--yes")
    assert tree(here) == before


def test_removed_clips_are_back_after_restore_and_gone_after_purge(slt, make_store, here):
    path = make_store()
    (here / "ids.txt").write_text("c1\n")
    slt("cache", "rm", "features", "--clips", "ids.txt", "--yes")
    assert slt("cache", "restore", "features").output == "features: 1 clips are back\n  c1\n"
    assert FeatureStore.open(path).read("c1", "s3d").tolist() == [[1.0] * 4] * 3
    slt("cache", "rm", "features", "--clips", "ids.txt", "--yes")
    run = slt("cache", "rm", "features", "--purge", "--yes")
    assert run.output.splitlines()[0].startswith("features: 0 of 2 clips, 0 B; 4 files of earlier ones, ")
    assert run.output.splitlines()[1].endswith("B freed")
    assert slt("cache", "restore", "features").output == "features: 0 clips are back\n"
    assert sorted(FeatureStore.open(path)) == ["c0", "日本/雨"]
    assert verify(path) == []


def test_a_removal_with_purge_leaves_nothing_to_bring_back(slt, make_store, here):
    path = make_store()
    (here / "ids.txt").write_text("c1\n")
    run = slt("cache", "rm", "features", "--clips", "ids.txt", "--purge", "--yes")
    assert "features: 1 clips removed\n" in run.output
    assert slt("cache", "restore", "features").output == "features: 0 clips are back\n"
    assert not list((path / "lost").iterdir())


ODD = [" ", "two\nlines", "\ufeffmark", '"quoted"', "a\rb", "tab\there", "\u2028"]


def test_every_id_can_be_named_and_is_shown_as_it_can_be_named(slt_reading, slt, make_store):
    path = make_store(clips=[*ODD, "plain"])
    named = "".join(f"{json.dumps(clip)}\n" for clip in ODD)
    shown = slt_reading(named, "cache", "rm", "features", "--clips", "-", "--dry-run")
    listed = [line.strip().removesuffix(": named for removal") for line in shown.stdout.splitlines()[2:]]
    assert len(listed) == len(ODD)
    run = slt_reading("".join(f"{line}\n" for line in listed), "cache", "rm", "features", "--clips", "-", "--yes")
    assert run.exit_code == 0
    assert FeatureStore.open(path).keys() == ["plain"]
    slt("cache", "restore", "features")
    run = slt_reading("".join(f"{clip}\0" for clip in ODD), "cache", "rm", "features", "-0", "--clips", "-", "--yes")
    assert run.exit_code == 0
    assert FeatureStore.open(path).keys() == ["plain"]
