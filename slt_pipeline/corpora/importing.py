"""What the importers share: annotation records, media references, and the report of what was written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.corpora.pickles import read_pickle
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_json_lines
from slt_pipeline.video.archive import open_archive
from slt_pipeline.video.paths import real_path

SPLITS = ("train", "dev", "test")
_MEDIA_ROOT_KEYS = "corpus.media_root, of isolated signs as corpus.isolated_media_root"


@dataclass(slots=True)
class ImportReport:
    """What an import wrote, and everything that it left out, with the reason."""

    manifest: Path
    media_root: Path
    num_clips: dict[str, int] = field(default_factory=dict)
    """Clips written, by split."""
    notes: list[str] = field(default_factory=list)
    """What the user should know, one line each."""
    rejected: list[dict[str, str]] = field(default_factory=list)
    """Clips left out: id and reason. Also written beside the manifest as `rejected.jsonl`."""

    def lines(self) -> list[str]:
        """For the terminal."""
        counts = ", ".join(f"{number} {split}" for split, number in self.num_clips.items())
        lines = [f"{self.manifest}: {counts or 'no clips'}", *self.notes]
        if real_path(self.media_root) != real_path(self.manifest.parent):
            lines.append(
                f"videos are relative to {self.media_root}: name it as --media-root to slt data validate, and in the "
                f"recipe as {_MEDIA_ROOT_KEYS}"
            )
        if self.rejected:
            lines.append(f"{len(self.rejected)} clips left out, see {rejected_path(self.manifest)}")
        return lines


def finish_import(report: ImportReport, clips: Sequence[Clip]) -> ImportReport:
    """Write the manifest and `rejected.jsonl`, and count.

    Raises:
        SltError: there are no clips, or all are left out; the manifest that was there before stays.
    """
    path = rejected_path(report.manifest)
    if not clips and not report.rejected:
        raise SltError(f"no clips are listed, and {report.manifest} is not written; name the lists of a whole corpus")
    if twice := next((name for name, count in Counter(clip.id for clip in clips).items() if count > 1), None):
        raise SltError(f"the clip {twice!r} is listed twice; leave one of the two out of the lists")
    if report.rejected:
        write_json_lines(path, report.rejected)
    else:
        path.unlink(missing_ok=True)
    if report.rejected and not clips:
        first, number = report.rejected[0], len(report.rejected)
        raise SltError(f"none of {number} clips can be read, such as {first['id']}: {first['reason']}; see {path}")
    write_manifest(report.manifest, clips)
    counts = Counter(clip.split for clip in clips)
    report.num_clips = {split: counts[split] for split in sorted(counts, key=_split_order)}
    return report


def rejected_path(manifest: Path) -> Path:
    """Where the clips that an import left out are listed."""
    return manifest.with_name(f"{manifest.stem}.rejected.jsonl")


def read_records(path: Path, fields: Mapping[str, type]) -> list[dict[str, Any]]:
    """Records of an annotation file, a pickled list of dicts.

    Raises:
        SltError: a field is missing or wrong; the entry is named.
    """
    records = read_pickle(path)
    if not isinstance(records, list):
        raise SltError(f"{path}: expected a list of clips, found {type(records).__name__}")
    for number, record in enumerate(records):
        for name, kind in fields.items():
            if not isinstance(record, dict) or not isinstance(record.get(name), kind):
                found = type(record.get(name) if isinstance(record, dict) else record).__name__
                raise SltError(f"{path}: entry {number}: {name} must be {kind.__name__}, found {found}")
        name = PurePosixPath(record["name"])
        if name.is_absolute() or ".." in name.parts or not name.parts:
            raise SltError(f"{path}: entry {number}: {record['name']!r} is no name of a clip")
        if record["num_frames"] < 1:
            raise SltError(f"{path}: entry {number}: {record['name']} has {record['num_frames']} frames")
    return records


def annotation_files(folder: Path, stem: str, splits: Sequence[str]) -> dict[str, Path]:
    """Files `<stem>.<split>` of a folder.

    Raises:
        SltError: one of them is missing.
    """
    paths = {split: folder / f"{stem}.{split}" for split in splits}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise SltError(
            f"no annotation file {', '.join(missing)}; the annotations folder holds {stem}.train, .dev, .test"
        )
    return paths


def frame_pattern(
    frames: Path | None, media_root: Path, layouts: Sequence[str], example: str, default: str
) -> tuple[str, bool]:
    """Find out how the frames of a corpus are laid out.

    Args:
        frames: folder or zip that holds them, None if they are not there (yet).
        layouts: patterns with `<name>` for the clip and a printf frame number, tried in this order.
        example: the clip that they are tried with.
        media_root: what the pattern is to be relative to.
        default: the layout if `frames` is None.

    Returns:
        The pattern, relative to media_root, and whether frames were found.

    Raises:
        SltError: none fits.
    """
    if frames is None:
        return default, False
    place = relative_to_root(frames, media_root)
    if frames.is_dir():
        for layout in layouts:
            if (frames / layout.replace("<name>", example)).parent.is_dir():
                return str(PurePosixPath(place) / layout), True
    elif frames.suffix.lower() == ".zip" and frames.is_file():
        folders = open_archive(frames).folders
        for layout in layouts:
            if str(PurePosixPath(layout.replace("<name>", example)).parent) in folders:
                return f"{place}!{layout}", True
    else:
        raise SltError(f"{frames}: no such folder or zip archive of frames")
    raise SltError(f"{frames}: clip {example} was not found; looked for {', '.join(layouts)}")


def clip_folder(frames: Path, media_root: Path, layouts: Sequence[str], names: Sequence[str]) -> str:
    """Return where a clip's pictures lie, as `frame_pattern` does, but the folder of them: with `<name>` for the clip.

    Args:
        frames: folder or zip that holds them.
        media_root: what it is to be relative to.
        layouts: as of `frame_pattern`. Pictures may also lie in a folder `1` below, as lists of RWTH have it.
        names: of clips, any of which may be missing.

    Raises:
        SltError: none of the first is there.
    """
    folders = [str(PurePosixPath(layout).parent) for layout in layouts]
    inside = [f"{folder}/{below}" for folder in folders for below in ("1/*", "*")]
    problem = SltError(f"{frames}: no clips are listed")
    for name in names[:_LOOKED_FOR]:
        try:
            return frame_pattern(frames, media_root, inside, name, "")[0].removesuffix("/*")
        except SltError as error:
            problem = error
    raise problem


_LOOKED_FOR = 50
"""Clips: where so many are missing, it is not the clips."""


class OutsideRoot(SltError):
    """Media that are there, and lie outside of the media root."""


def relative_to_root(path: Path, media_root: Path) -> str:
    """Path relative to the media root, with slashes.

    Raises:
        OutsideRoot: it lies outside.
    """
    try:
        return real_path(path).relative_to(real_path(media_root)).as_posix()
    except ValueError:
        raise OutsideRoot(
            f"{path} is outside of the media root {media_root}; name a folder that holds it as --media-root, and in "
            f"the recipe as {_MEDIA_ROOT_KEYS}"
        ) from None


def _split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS)), split
