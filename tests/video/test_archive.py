"""An archive costs what the folder costs that is read, and gives what the standard library gives."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from video_files import grey_pictures, levels

from slt_pipeline.errors import SltError
from slt_pipeline.video.archive import Archive
from slt_pipeline.video.reader import open_video


def png(picture):
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def test_folders_and_members_are_those_of_the_standard_library(tmp_path):
    """Folders take turns, names are of every kind, bytes stand before the archive and a comment behind it."""
    path = tmp_path / "a.zip"
    path.write_bytes(b"#!/bin/sh\n" * 50)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"made today, PK\1\2"
        archive.mkdir("frames")
        for number in range(6):
            for folder in ("", "frames/a/", "frames/ä/", "frames/天气/x/"):
                archive.writestr(f"{folder}{number}.txt", f"{folder} {number}" * 20)
    opened, found = Archive(path), {}
    for name in opened.folders:
        folder = opened.folder(name)
        found |= {
            f"{name}/{member}".lstrip("/"): (folder.read(member), *folder.facts(member)) for member in folder.names
        }
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        assert found == {info.filename: (archive.read(info), info.CRC, info.file_size) for info in infos}


def test_an_archive_of_many_members_takes_the_memory_of_one_folder(tmp_path):
    """More members than the old form of the directory can count."""
    path, pictures = tmp_path / "a.zip", [png(picture) for picture in grey_pictures(5, (4, 4))]
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(70000):
            archive.writestr(
                f"images/train/clip-{number // 700}/images{number % 700 + 1:04d}.png", pictures[number % 5]
            )
    tracemalloc.start()
    video = open_video(f"{path}!images/train/clip-99/images%04d.png")
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert video.num_frames == 700 and size < 1.5e6 and peak < 3e6
    assert levels(video.read([0, 699])) == levels([np.asarray(Image.open(io.BytesIO(pictures[i]))) for i in (0, 4)])


def test_backslashes_are_slashes(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, picture in enumerate(grey_pictures(3)):
            archive.writestr(f"frames\\one\\{number:04d}.png", png(picture))
    for reference in ("frames/one", "frames/one/%04d.png"):
        assert levels(open_video(f"{tmp_path}/a.zip!{reference}").read()) == levels(grey_pictures(3))


@pytest.mark.parametrize("member", ["frames/two", "two/%04d.png"])
def test_a_folder_that_is_not_there_is_named_beside_one_that_is(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("frames/one/0001.png", b"")
    with pytest.raises(SltError, match=rf"a\.zip!{member}: no such folder in the archive; it has frames/one"):
        open_video(f"{tmp_path}/a.zip!{member}")


def test_an_archive_that_was_replaced_is_read_anew(tmp_path):
    for level in (1, 2):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a/1.png", png(np.full((4, 4 * level, 3), 50 * level, np.uint8)))
        assert levels(open_video(f"{tmp_path}/a.zip!a").read()) == [50 * level]
