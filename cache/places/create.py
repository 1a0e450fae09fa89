"""Making a store's folder, whole or not at all, wherever an empty folder may be."""

import contextlib
import errno
import fcntl
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

_LEFT = re.compile(r"index/[0-9]{8,}\.(?:claim|gone)|tmp/(?:[0-9]{8,}\.)?[0-9a-f]{32}(?:\..+)?")
"""What deleting a store beside a writer, or being killed while making one, may leave besides empty folders."""
# No folder can take the place of a mount point, of one in a parent that is not ours, or of one with leftovers.
_IN_PLACE = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST)


def create(root: Path, files: dict[str, bytes], folders: Collection[str], *, durable: bool) -> None:
    """Make a folder with these files and folders, all or nothing; the first file is what makes it a store.

    Raises:
        FileExistsError: there is something at `root` that is not an empty folder.
        PermissionError: `root` lies in another such folder, which could then not be deleted.
    """
    _require_outside(root.resolve(), next(iter(files)), folders)
    made = [parent for parent in root.parents if not parent.exists()]
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), root.parent) from error
    target = root.resolve()  # behind a link to an empty folder
    _require_free(target, files, folders)
    try:
        _make_beside(target, files, folders, durable)
    except OSError as error:
        if not target.is_dir() or error.errno not in _IN_PLACE:
            raise
        _make_inside(target, files, folders, durable)
    if durable:
        for folder in (target, *made):
            sync_path(folder.parent)


def sync_path(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_beside(target: Path, files: dict[str, bytes], folders: Iterable[str], durable: bool) -> None:
    start = f".{target.name[:100]}."
    _remove_dead(target.parent, start)
    while True:
        new = target.parent / f"{start}{uuid.uuid4().hex}.new"
        new.mkdir()
        with _held(new) as ours:
            if not ours:  # who removes the dead has taken it for one of them
                continue
            try:
                _fill(new, files, folders, durable)
                new.rename(target)  # only one of several gets past this: the target is no longer empty
            except BaseException:
                _remove_tree(new)
                raise
            return


def _make_inside(target: Path, files: dict[str, bytes], folders: Collection[str], durable: bool) -> None:
    with _held(target) as ours:
        if not ours:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        _require_free(target, files, folders)
        for entry in list(target.iterdir()):
            _remove_tree(entry)
        header, *others = files
        _fill(target, {path: files[path] for path in others}, folders, durable)
        whole = target / "tmp" / uuid.uuid4().hex
        _write(whole, files[header], durable)
        whole.rename(target / header)
        if durable:
            sync_path(target)


def _fill(folder: Path, files: dict[str, bytes], folders: Iterable[str], durable: bool) -> None:
    for name in folders:
        (folder / name).mkdir()
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / path, data, durable)
    if durable:
        for path in {folder, *((folder / path).parent for path in files)}:
            sync_path(path)


def _write(path: Path, data: bytes, durable: bool) -> None:
    with path.open("xb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _require_free(target: Path, files: Collection[str], folders: Collection[str]) -> None:
    """Raise FileExistsError if there is anything but an empty folder, and what a store that is gone may have left."""
    if not target.exists():
        return
    inner = {parent.as_posix() for path in files for parent in Path(path).parents} | {*folders}
    others = {*files} - {next(iter(files))}
    for path in target.rglob("*") if target.is_dir() else [target]:
        name = path.relative_to(target).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if not (name in inner if is_folder else name in others or _LEFT.fullmatch(name)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


def _require_outside(target: Path, header: str, folders: Collection[str]) -> None:
    for above in target.parents:
        if (above / header).is_file() and all((above / name).is_dir() for name in folders):
            raise PermissionError(errno.EPERM, f"it lies in the store {above}, where nothing else may be", target)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder while the block runs, and yield whether it is ours: who dies lets it go."""
    descriptor = None
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor is not None and _locks(descriptor) and folder.exists()
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locks(descriptor: int) -> bool:
    """Lock a folder; say whether others do not have it. Where folders have no locks nobody has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return True


def _remove_dead(parent: Path, start: str) -> None:
    """Remove what those left who were killed while they made a store beside."""
    with contextlib.suppress(OSError):
        for path in list(parent.iterdir()):
            if path.name.startswith(start) and re.fullmatch(r"[0-9a-f]{32}\.new", path.name[len(start) :]):
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove_tree(path)
                finally:
                    os.close(descriptor)


def _remove_tree(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        return path.unlink(missing_ok=True)
    for inner in list(path.iterdir()):
        _remove_tree(inner)
    path.rmdir()
