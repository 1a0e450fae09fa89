"""Media are known by what they hold: not by name, place or time."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from slt_pipeline.video.identity import ABSENT, media_identity

REFERENCES = ("a.mp4", "frames/a", "frames/a/i%04d.png", "frames.zip!x/a", "frames.zip!x/a/i%04d.png")


def pictures(replaced: dict[str, bytes] | None = None) -> dict[str, bytes]:
    names = [f"i{number:04d}.png" for number in range(1, 6)]
    return {**{name: f"picture {name}".encode() for name in names}, **(replaced or {})}


def write(root: Path, replaced: dict[str, bytes] | None = None, video: bytes = b"a video " * 30000) -> Path:
    """A media root with one clip in every form."""
    (root / "frames/a").mkdir(parents=True, exist_ok=True)
    (root / "a.mp4").write_bytes(video)
    with zipfile.ZipFile(root / "frames.zip", "w") as archive:
        for name, content in pictures(replaced).items():
            (root / "frames/a" / name).write_bytes(content)
            archive.writestr(f"x/a/{name}", content)
    return root


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_copied_corpus_has_the_same_media(tmp_path, reference):
    first, second = write(tmp_path / "first"), tmp_path / "second"
    shutil.copytree(first, second)
    for path in second.rglob("*"):
        os.utime(path, (1, 1))
    assert media_identity(reference, first) == media_identity(reference, second) != ABSENT


@pytest.mark.parametrize("reference", REFERENCES)
def test_other_bytes_under_the_same_name_and_of_the_same_length_are_other_media(tmp_path, reference):
    first = write(tmp_path / "first")
    changed = {"i0003.png": b"PICTURE i0003.png"}
    second = write(tmp_path / "second", changed, b"A VIDEO " * 30000)
    assert media_identity(reference, first) != media_identity(reference, second)


def test_the_tail_of_a_large_file_and_its_size_count(tmp_path):
    video = b"a video " * 30000
    found = {
        media_identity("a.mp4", write(tmp_path / str(number), video=content))
        for number, content in enumerate((video, video[:-1] + b"!", video + b" ", video[:-1]))
    }
    assert len(found) == 4


@pytest.mark.parametrize("reference", REFERENCES[1:])
def test_one_picture_more_or_less_is_another_clip(tmp_path, reference):
    first = write(tmp_path / "first")
    second = write(tmp_path / "second", {"i0006.png": b"one more"})
    assert media_identity(reference, first) != media_identity(reference, second)


@pytest.mark.parametrize("reference", REFERENCES[1:])
def test_files_beside_the_frames_do_not_count(tmp_path, reference):
    first, second = write(tmp_path / "first"), write(tmp_path / "second", {"notes.txt": b"not a frame"})
    (second / "frames/a/more").mkdir()
    assert media_identity(reference, first) == media_identity(reference, second)


def test_clips_that_share_a_folder_are_told_apart(tmp_path):
    """Frames of two clips in one folder: each is known by its own."""
    first = write(tmp_path / "first", {"k0001.png": b"of another clip"})
    second = write(tmp_path / "second", {"k0001.png": b"OF ANOTHER CLIP"})
    for folder in ("frames/a", "frames.zip!x/a"):
        assert media_identity(f"{folder}/i%04d.png", first) == media_identity(f"{folder}/i%04d.png", second)
        assert media_identity(f"{folder}/k%04d.png", first) != media_identity(f"{folder}/k%04d.png", second)


@pytest.mark.parametrize(
    "reference",
    ["b.mp4", "frames/b", "frames/a/x%04d.png", "frames.zip!x/b", "frames.zip!x/a/x%04d.png", "b.zip!x/a", "a.mp4!x"],
)
def test_what_is_not_there_is_absent_whatever_lies_beside_it(tmp_path, reference):
    assert media_identity(reference, write(tmp_path)) == ABSENT


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(write(tmp_path) / "pipe.mp4")
    (tmp_path / "frames/empty").mkdir()
    assert media_identity("pipe.mp4", tmp_path) == media_identity("frames/empty", tmp_path) == ABSENT


@pytest.mark.parametrize("reference", ["../a.mp4", "../frames/a", "x/../../a.mp4", "../frames.zip!x/a", "link.mp4"])
def test_nothing_outside_of_the_media_root_is_looked_at(tmp_path, reference):
    outside, root = write(tmp_path), tmp_path / "root"
    root.mkdir()
    (root / "link.mp4").symlink_to(outside / "a.mp4")
    assert media_identity(reference, root) == ABSENT
