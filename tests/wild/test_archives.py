"""Zip archives as people have them: of other systems, in other bytes, with what stands around and in their way."""

import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from slt_pipeline.corpora.importing import frame_pattern
from slt_pipeline.errors import SltError
from slt_pipeline.video.reader import open_video, require_media


def png(level):
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (16, 12), (level, level, level)).save(out, "PNG")
    return out.getvalue()


def zip_of(names, *, encoding=None, compression=zipfile.ZIP_STORED):
    """An archive of pictures that grow brighter; with `encoding` its names are in those bytes, which nothing tells."""
    out, places = io.BytesIO(), []
    with zipfile.ZipFile(out, "w", compression) as archive:
        for number, name in enumerate(names):
            raw = name.encode(encoding or "utf-8")
            places.append((b"\x01" + str(number).encode() + b"_" * len(raw), raw))
            archive.writestr(places[-1][0][: len(raw)].decode() if encoding else name, png(20 * number))
    data = out.getvalue()
    for held, raw in places if encoding else ():
        data = data.replace(held[: len(raw)], raw)
    return data


def levels(reference, root=None):
    """The brightness of each frame."""
    return [int(frame[0, 0, 0]) for frame in open_video(reference, root).read()]


@pytest.mark.parametrize(
    ("folder", "encoding"),
    [
        ("帧/第一句", "gbk"),
        ("表示/ソ連", "cp932"),  # the second byte of these is a backslash
        ("功能", "big5"),
        ("영상", "euc_kr"),
        ("Größe", "cp850"),
        ("Größe", "cp437"),
        ("Größe", "cp1252"),
        ("Größe", "utf-8"),  # as a Mac writes them, without saying so
        ("кадры", "cp866"),
    ],
)
def test_names_in_the_bytes_of_another_system_are_found(tmp_path, folder, encoding):
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of([f"{folder}/{n:03d}.png" for n in range(1, 5)], encoding=encoding))
    assert levels(f"a.zip!{folder}", tmp_path) == levels(f"a.zip!{folder}/%03d.png", tmp_path) == [0, 20, 40, 60]
    require_media(f"a.zip!{folder}", tmp_path)


@pytest.mark.parametrize("encoding", ["gbk", "cp932", "utf-8", None])
def test_files_with_such_names_in_a_plain_folder_are_found(tmp_path, encoding):
    (tmp_path / "a.zip").write_bytes(zip_of([f"frames/表{n:03d}.png" for n in range(1, 4)], encoding=encoding))
    assert levels("a.zip!frames/表%03d.png", tmp_path) == [0, 20, 40]


def test_what_is_not_in_an_archive_is_said_with_a_name_that_is(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_of([f"帧/{n}.png" for n in range(1, 4)], encoding="utf-8"))
    with pytest.raises(SltError, match=r"a\.zip!帧2: no such folder in the archive; it has 帧$"):
        open_video("a.zip!帧2", tmp_path)
    with pytest.raises(SltError, match=r"a\.zip!帧/img%d\.png: no such numbered pictures"):
        open_video("a.zip!帧/img%d.png", tmp_path)


def test_a_windows_archive_and_a_reference_typed_on_windows(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_of([f"frames\\clip1\\images{n:04d}.png" for n in range(1, 4)]))
    for inside in ("frames/clip1", "frames\\clip1", "frames/clip1/images%04d.png", "frames\\clip1\\images%04d.png"):
        assert levels(f"a.zip!{inside}", tmp_path) == [0, 20, 40]
    found = frame_pattern(tmp_path / "a.zip", tmp_path, ["frames/<name>/images%04d.png"], "clip1", "")
    assert found == ("a.zip!frames/<name>/images%04d.png", True)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    ("before", "behind"), [(b"MZ" + bytes(3000), b""), (b"", b"PK note"), (b"#!/bin/sh\n", bytes(99))]
)
def test_a_self_extracting_archive_and_one_with_bytes_behind(tmp_path, compression, before, behind):
    content = zip_of([f"a/{n}.png" for n in range(3)], compression=compression)
    (tmp_path / "a.zip").write_bytes(before + content + behind)
    assert levels("a.zip!a/%d.png", tmp_path) == [0, 20, 40]


class Pipe(io.BytesIO):
    """What cannot go back."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise OSError

    tell = seek


def test_an_archive_written_to_a_pipe(tmp_path):
    """Sizes stand behind the members, in the form of zip64."""
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            with archive.open(f"a/{number}.png", "w", force_zip64=True) as member:
                member.write(png(20 * number))
    assert pipe.getvalue()[6] & 8
    (tmp_path / "a.zip").write_bytes(pipe.getvalue())
    assert levels("a.zip!a", tmp_path) == [0, 20, 40]


def test_of_members_of_one_name_the_last_counts(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, level in (("a/1.png", 0), ("a/2.png", 20), ("a/1.png", 90), ("a\\2.png", 60)):
            archive.writestr(name, png(level))
    assert levels("a.zip!a", tmp_path) == [90, 60]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("method", 9, "deflate64"),
        ("method", 99, "method 99"),
        ("flags", 1, "encrypted"),
        ("size", 2**31, "unpacks to"),
    ],
)
def test_a_member_that_nobody_can_unpack_is_named_with_the_reason(tmp_path, field, value, reason):
    data = bytearray(zip_of(["a/1.png", "a/2.png"]))
    local, entry = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    for head, at in (
        (local, {"flags": 6, "method": 8, "size": 22}[field]),
        (entry, {"flags": 8, "method": 10, "size": 24}[field]),
    ):
        struct.pack_into("<I" if field == "size" else "<H", data, head + at, value)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(SltError, match=rf"a\.zip!a/1\.png: .*{reason}") as refused:
        open_video("a.zip!a", tmp_path)
    assert "\n" not in str(refused.value)


def test_system_files_of_an_archive_are_no_frames(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_of(["a/1.png", "a/2.png", "a/._1.png", "__MACOSX/a/._1.png", "a/Thumbs.db"]))
    assert np.shape(open_video("a.zip!a", tmp_path).read()) == (2, 12, 16, 3)
