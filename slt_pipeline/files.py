"""Files that appear whole or not at all: text, JSON, JSON Lines, and the hash of what a file holds.

Every file that the pipeline makes outside the feature store goes through here, so that a kill or a full disk leaves the
old file or the new one, never half of one, and two processes never share a temporary name. Text of other systems is
read here too: with a byte order mark, in UTF-16, with any line ends.
"""

import codecs
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, wraps
from pathlib import Path
from stat import S_IMODE
from typing import Any, ParamSpec, TypeVar

from slt_pipeline.errors import SltError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the place of `path`, flushed to disk, when the block ends well.

    The folder is made if it is missing. If the block raises, `path` is left as it was. It has the mode of any new file,
    whoever makes it in the block. A link stays one, and a device or a pipe (`/dev/null`) is written to as it is.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        scratch.touch()
        mode = S_IMODE(scratch.stat().st_mode)
        yield scratch
        if S_IMODE(scratch.stat().st_mode) != mode:  # safetensors makes files that nobody else may read
            scratch.chmod(mode)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; it takes the place of `path` when the block ends well.

    If the block raises, `path` is left as it was. A folder that was there is moved aside first, and taken away last.
    What processes that were killed have left of this is cleared, and put back if it is all that there is.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    begins = f".{path.name[:50]}.{text_hash(path.name)[:8]}."
    _clear(path, begins)
    own = f"{begins}{uuid.uuid4().hex[:12]}"
    scratch, before, lock = (path.with_name(f"{own}.{end}") for end in ("tmp", "before", "lock"))
    with held(lock, str(path), wait=True):  # for who would clear it
        try:
            scratch.mkdir()
            yield scratch
            if path.exists():
                path.rename(before)
            scratch.rename(path)
        except BaseException:
            if before.exists() and not path.exists():
                before.rename(path)
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        shutil.rmtree(before, ignore_errors=True)


def _clear(path: Path, begins: str) -> None:
    """Undo the writing of a folder by processes that are dead: nobody holds their lock."""
    for own in {place.stem for place in path.parent.iterdir() if place.name.startswith(begins)}:
        scratch, before, lock = (path.with_name(f"{own}.{end}") for end in ("tmp", "before", "lock"))
        with suppress(OSError), lock.open("a") as file:  # its process lives, or may: there are no locks here
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if before.exists() and not path.exists():
                before.rename(path)
            for left in (scratch, before):
                shutil.rmtree(left, ignore_errors=True)
            lock.unlink(missing_ok=True)


def require_place(path: Path, *, folder: bool = False) -> None:
    """Refuse a place where nothing can be written, before work is done for it; nothing is made.

    Args:
        path: the file that is to be written, or the folder. What it lies in need not be there yet.
        folder: whether it is a folder.

    Raises:
        SltError: it is there and of the other kind, something is in its way, or there is no right or no room to write.
    """
    try:
        if _is_there(path) and path.exists() and path.is_dir() != folder:
            raise SltError(f"{path} is a {'file' if folder else 'folder'}; name a {'folder' if folder else 'file'}")
        places = [path, *path.absolute().parents] if folder else path.absolute().parents
        above = next(place for place in places if _is_there(place))
        if not above.is_dir():
            raise SltError(f"{path}: cannot be written: {above} is no folder")
        if not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
            raise SltError(f"{path}: cannot be written: no permission to write in {above}")
        if not shutil.disk_usage(above).free:
            raise SltError(f"{path}: cannot be written: no space left on the disk of {above}")
    except OSError as error:
        raise SltError(f"{path}: cannot be written: {error.strerror}") from None


def require_new_file(
    path: Path, what: str, is_own: Callable[[Path], bool], *, reads: Iterable[Path] = (), overwrite: bool = True
) -> None:
    """Refuse a file that must not be written, before work is done for it; an empty one may be replaced by anything.

    Args:
        path: of the file; devices and pipes are no matter.
        what: its command writes: "a manifest".
        is_own: whether a file is of that kind; one that cannot be read is not.
        reads: files that the command reads, by whatever links.
        overwrite: whether one that is there may be replaced.

    Raises:
        SltError: it is read, or is there and must not be replaced, or is nothing that the command has made.
    """
    if not path.is_file():
        return
    for read in reads:
        if read.exists() and path.samefile(read):
            raise SltError(f"{path} is {read}, which is read; name another file to write")
    if not overwrite:
        raise SltError(f"{path} is there; name another file, or add --overwrite")
    try:
        own = path.stat().st_size == 0 or is_own(path)
    except (OSError, ValueError, RecursionError, SltError):
        own = False
    if not own:
        raise SltError(f"{path} is there and is not {what}, which alone may be replaced; name another file")


def _is_there(path: Path) -> bool:
    """Whether there is something of a name, if only a link that leads nowhere."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextmanager
def held(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a file for this process alone while the block runs; a process that dies lets it go.

    Where the file system has no locks, nobody is kept out.

    Args:
        path: an empty file, which is there as long as it is held, or after a kill.
        what: begins the message: "the run x".
        wait: for the end of another process that holds it.

    Raises:
        SltError: another process holds it, and we do not wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _locked(path, what, wait)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _locked(path: Path, what: str, wait: bool) -> int:
    """Return a descriptor of the locked file; one that its holder has just taken away is not it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            os.close(file)
            raise SltError(f"{what} is being written by another process; wait for its end, or stop it") from error
        except OSError:  # no locks here
            return file
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file).st_ino:
                return file
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with line feeds as they are given."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes."""
    with replacing(path) as scratch:
        scratch.write_bytes(content)


def read_lines(path: Path) -> list[str]:
    """Lines of a text file without their ends, whichever system wrote it.

    Raises:
        SltError: it cannot be read, or a line is no UTF-8; the line is named.
    """
    lines = []
    for number, line in enumerate(raw_lines(path), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise SltError(f"{path}:{number}: {not_utf8(error)}") from None
    return lines


def raw_lines(path: Path) -> list[bytes]:
    """Lines of a text file without their ends, in UTF-8; one that is none is as it lies in the file.

    Byte order marks are left out, UTF-16 and UTF-32 become UTF-8; a line ends with LF, CR LF, or CR where the file has
    no LF.

    Raises:
        SltError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SltError(f"{path}: cannot be read: {error.strerror}") from None
    mark, encoding = next((pair for pair in _MARKS if content.startswith(pair[0])), (b"", _unmarked(content)))
    content = content[len(mark) :]
    try:
        content = content if encoding == "utf-8" else content.decode(encoding).encode("utf-8")
    except UnicodeError as error:
        raise SltError(f"{path}: not the {encoding.upper()} that it begins as ({error}); save it as UTF-8") from None
    content = content.replace(b"\r\n", b"\n")
    lines = content.split(b"\n" if b"\n" in content else b"\r")
    return lines if lines[-1] else lines[:-1]


_MARKS = (
    *((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
    *((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
)


def _unmarked(content: bytes) -> str:
    """Which UTF a text without a mark is in: one of two bytes shows by the zero in its first character."""
    first = content[:2]
    return "utf-8" if 0 not in first or first == b"\0\0" else "utf-16-be" if first[0] == 0 else "utf-16-le"


def not_utf8(error: UnicodeDecodeError) -> str:
    """What is wrong with a line that is no UTF-8, and the cure."""
    bad = error.object[error.start]
    return f"not UTF-8: byte {bad:#04x} in column {error.start + 1}; save the file as UTF-8 (iconv -f LATIN1 -t UTF-8)"


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people: indented, not escaped."""
    write_text(path, _json(data, indent=2) + "\n")


def read_json(path: Path, of: type = object) -> Any:
    """Read JSON, which is a `dict` or a `list` where `of` says so.

    Raises:
        SltError: it cannot be read, is damaged or of another kind; the file is named.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, of):
            raise ValueError(f"it holds a {type(found).__name__}, where a {of.__name__} is wanted")
        return found
    except FileNotFoundError as error:
        raise SltError(f"{path} is missing; put it back, or make its folder anew") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SltError(f"{path} cannot be read: {error}; delete it and run its command again") from error


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line."""
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        file.writelines(map(json_line, rows))


def read_json_lines(path: Path) -> list[Any]:
    """Read one JSON value a line; no file is no rows, and a last line that a kill has torn is left out.

    Raises:
        SltError: another line is no JSON; file and line are named.
    """
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):  # it may be torn within a character
        try:
            rows += [json.loads(line.decode("utf-8"))] if line else []
        except (ValueError, RecursionError) as error:
            raise SltError(f"{path}:{number}: not JSON: {error}; delete the file and run its command again") from error
    return rows


def change_json_lines(path: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    """Write what is made of the rows of a file, or no file where that is nothing; who else changes it waits."""
    with held(path.with_name(f".{path.name}.lock"), str(path), wait=True):
        rows = read_json_lines(path)
        changed = change(rows)
        if changed:
            write_json_lines(path, changed)
        elif rows:
            path.unlink()


def json_line(row: Any) -> str:
    """One line of a JSON Lines file, line feed included."""
    return _json(row) + "\n"


def _json(data: Any, indent: int | None = None) -> str:
    """JSON that UTF-8 can hold: what of a file's name is no text is escaped, and is the same name when it is read."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")


def kept(
    files: Callable[..., Iterable[Path]], most: int = 1
) -> Callable[[Callable[_Given, _Read]], Callable[_Given, _Read]]:
    """Decorate what reads files: the last results are kept, and given again while those files have not changed.

    It is the same object each time, which nobody may change. So the runs of a sweep share what they read.

    Args:
        files: names them, of the arguments of a call, which have to be hashable. One may be missing, or be a folder,
            which changes when something in it comes or goes.
        most: results that are kept.
    """

    def decorate(read: Callable[_Given, _Read]) -> Callable[_Given, _Read]:
        @lru_cache(maxsize=most)
        def of(versions: Any, given: Any, named: Any) -> _Read:
            return read(*given, **dict(named))

        @wraps(read)
        def again(*given: _Given.args, **named: _Given.kwargs) -> _Read:
            return of(tuple(map(_version, files(*given, **named))), given, tuple(named.items()))

        return again

    return decorate


def _version(path: Path) -> tuple[Any, ...]:
    """Return what is another once a file has changed."""
    try:
        status = path.stat()
    except OSError:
        return (path.absolute(),)
    return path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. A file that has not changed since is not read a second time.

    Raises:
        SltError: it cannot be read.
    """
    try:
        return _hash_of(path)
    except OSError as error:
        raise SltError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error


@kept(lambda path: [path], most=256)
def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
