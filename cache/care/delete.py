"""Deleting a whole store, and nothing else."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cache.care import caring
from cache.care.contents import LOST, LOST_RECORD, TEMPORARY_FILE, data_pattern, taken_numbers
from cache.errors import StoreError, cannot_read
from cache.header import FORMAT, HEADER_PATH
from cache.index import FOLDER, TEMPORARY, claim_path, numbers
from cache.places.local import LocalFiles
from cache.seal import is_sealed, unseal
from cache.table import NAME as TABLE

FOLDERS = (FOLDER, "data", TEMPORARY, LOST)
"""In the order of deletion: a store whose index goes first is at any moment a whole store of fewer clips."""


def delete(path: str | Path) -> None:
    """Delete a store. Killed in between, what is left is a store of fewer clips, and `delete` goes on with it.

    Raises:
        StoreError: before anything is deleted, if there is no store, its folder holds anything else at any depth, or
            others write to it, repair or prune it.
    """
    deletable(path)
    with caring(LocalFiles(path), yes=True):
        root, header, tried = Path(path).resolve(), _require_store(Path(path)), set[Path]()
        parts = deletable(path)
        while True:
            try:
                for entry in parts:
                    with suppress(FileNotFoundError):
                        entry.rmdir() if entry.is_dir() else entry.unlink()
                return
            except OSError as error:
                tried |= {*parts}
                parts = _parts(root, header)  # with what a writer has put there meanwhile
                if tried >= {*parts}:
                    raise StoreError(
                        f"cannot delete {error.filename} ({error.strerror or error}): what is left is a store of fewer "
                        "clips; make sure that nobody writes to it, and delete it again"
                    ) from error


def deletable(path: str | Path) -> list[Path]:
    """Return what a store consists of in the order of deletion, its folder last. Raises as `delete` does."""
    if "://" in str(path):
        raise StoreError(f"{path} is an object store, which is read only: delete it with the tools of the object store")
    try:
        if Path(path).is_symlink():
            target = Path(path).readlink()
            raise StoreError(f"{path} is a link to {target}, so nothing was deleted: name the store itself")
        root = Path(path)
        header = _require_store(root)
        parts = _parts(root.resolve(), header)
        files = LocalFiles(root)
        for shard in numbers(files.names(FOLDER), "claim"):
            try:
                with files.lock(claim_path(shard)):
                    continue
            except BlockingIOError as error:
                raise StoreError(
                    f"{path} is being written to, so nothing was deleted: wait for the end of that, or stop it"
                ) from error
            except FileNotFoundError:
                continue
        return parts
    except OSError as error:
        raise cannot_read(str(path), error) from error


def _parts(root: Path, header: dict[str, Any]) -> list[Path]:
    found = _left(root)
    ours = _Ours(root, header)
    for entry in found[:-1]:
        name = entry.relative_to(root).as_posix()
        if not ours.folder(name) if entry.is_dir() else not ours.file(name):
            raise StoreError(
                f"{root} holds {name!r}, which is no part of a store, so nothing was deleted: move it elsewhere first"
            )
    return found


def _left(root: Path) -> list[Path]:
    """Return what is in a folder, those inside first, the parts of a store in the order of their deletion."""
    entries = sorted(root.iterdir(), key=lambda entry: (entry.name == HEADER_PATH, entry.name))
    order = {name: number for number, name in enumerate(FOLDERS)}
    entries.sort(key=lambda entry: order.get(entry.name, len(FOLDERS)))
    return [*(path for entry in entries for path in _below(entry)), root]


class _Ours:
    """What belongs to a store by its backend, the names of its streams, and the numbers of its shards."""

    def __init__(self, root: Path, header: dict[str, Any]) -> None:
        streams = header.get("streams")
        self._streams = (
            {name for name in streams if re.fullmatch(r"\w+", name, re.ASCII)} if isinstance(streams, dict) else set()
        )
        named = set(_named_files(root))
        self._streams |= {name.split("/")[1] for name in named if name.count("/") == 2}
        backend = "hdf5" if header.get("backend") == "hdf5" else "zarr"
        self._pattern = re.compile(data_pattern(backend, map(re.escape, sorted(self._streams))), re.ASCII)
        self._root, self._id = root, header.get("id")
        self._highest = max(taken_numbers([path.name for path in (root / FOLDER).glob("*")]), default=None)
        self._described = {"data/zarr.json", *(f"data/{stream}/zarr.json" for stream in self._streams)}

    def folder(self, name: str) -> bool:
        """Say whether this is a folder of a store."""
        inner = name.removeprefix(f"{LOST}/")
        return (
            name in FOLDERS
            or inner == "data"
            or (inner.count("/") == 1 and inner.removeprefix("data/") in self._streams)
        )

    def file(self, name: str) -> bool:
        """Say whether this is a file of a store."""
        if (
            name == HEADER_PATH
            or name in self._described
            or TEMPORARY_FILE.fullmatch(name)
            or LOST_RECORD.fullmatch(name)
        ):
            return True
        if name.startswith(f"{FOLDER}/"):
            name = name.removeprefix(f"{FOLDER}/")
            return bool(taken_numbers([name]) or TABLE.fullmatch(name))
        data = self._pattern.fullmatch(name.removeprefix(f"{LOST}/"))
        if not data or self._highest is None or int(data[1]) <= self._highest:
            return bool(data)
        copies = [self._root / f"data/{stream}/c.{data[1]}.0.json" for stream in self._streams]
        documents = map(_document, [*copies, self._root / f"data/{data[1]}.h5.json"])
        return bool(self._id) and self._id in [document.get("store") for document in documents]


def _named_files(root: Path) -> Iterator[str]:
    """Yield the files that records name, also those of a format that only later versions know."""
    for record in (root / FOLDER).glob("*.json"):
        files = _document(record).get("files")
        yield from (name for name in files if isinstance(name, str)) if isinstance(files, dict) else ()


def _document(record: Path) -> dict[str, Any]:
    """Return what a record says, nothing if it is damaged."""
    data = record.read_bytes() if record.is_file() else b""
    return unseal(data, str(record)) if is_sealed(data) else {}


def _require_store(root: Path) -> dict[str, Any]:
    """Return what store.json says."""
    header = root / HEADER_PATH
    try:
        document = unseal(header.read_bytes(), str(header))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"there is no feature store at {root}, so nothing was deleted") from None
    except StoreError:
        document = {}
    if document.get("format") != FORMAT:
        raise StoreError(
            f"{header} is damaged or of no feature store, so nothing was deleted: if {root} can go, delete it by hand"
        )
    return document


def _below(entry: Path) -> Iterator[Path]:
    """Yield files and folders, those inside first.

    Files are in ascending order: the record of a shard that was replaced goes before the one that stands for it.
    """
    if entry.is_symlink():
        raise StoreError(f"{entry} is a link to {entry.readlink()}, so nothing was deleted: remove it by hand")
    if entry.is_dir():
        for inner in sorted(entry.iterdir()):
            yield from _below(inner)
    yield entry
