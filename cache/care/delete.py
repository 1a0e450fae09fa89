"""Deleting a whole store, and nothing else."""

import re
from collections.abc import Callable, Iterator
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
    root, files = Path(path), LocalFiles(path)
    try:
        if root.is_symlink():
            raise StoreError(f"{path} is a link to {root.readlink()}, so nothing was deleted: name the store itself")
        parts = _parts(root.resolve(), _require_store(root))
        for shard in numbers(files.names(FOLDER), "claim"):
            with suppress(FileNotFoundError), files.lock(claim_path(shard)):
                pass
        return parts
    except BlockingIOError as error:
        raise StoreError(
            f"{path} is being written to, so nothing was deleted: wait for the end of that, or stop it"
        ) from error
    except OSError as error:
        raise cannot_read(str(path), error) from error


def _parts(root: Path, header: dict[str, Any]) -> list[Path]:
    """Return what is in a folder, and then itself: those inside first, the parts of a store in the order of FOLDERS."""
    order = {name: number for number, name in enumerate((*FOLDERS, "", HEADER_PATH))}
    entries = sorted(root.iterdir(), key=lambda entry: (order.get(entry.name, len(FOLDERS)), entry.name))
    found = [path for entry in entries for path in _below(entry)]
    is_ours = _ours(root, header)
    for entry in found:
        if not is_ours(entry.relative_to(root).as_posix(), entry.is_dir()):
            name = entry.relative_to(root).as_posix()
            raise StoreError(
                f"{root} holds {name!r}, which is no part of a store, so nothing was deleted: move it elsewhere first"
            )
    return [*found, root]


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


def _ours(root: Path, header: dict[str, Any]) -> Callable[[str, bool], bool]:
    """Return what says whether a name is of a store: by its backend, its streams, and the numbers of its shards."""
    documents = map(_document, (root / FOLDER).glob("*.json"))
    named = [name.split("/") for document in documents for name in _texts(document.get("files"))]
    streams = {name for name in _texts(header.get("streams")) if re.fullmatch(r"\w+", name, re.ASCII)}
    streams |= {parts[1] for parts in named if len(parts) == 3}  # those of a format that only later versions know
    highest = max(taken_numbers([path.name for path in (root / FOLDER).glob("*")]), default=None)
    backend = "hdf5" if header.get("backend") == "hdf5" else "zarr"
    data = re.compile(data_pattern(backend, map(re.escape, sorted(streams))), re.ASCII)
    folders = {
        *FOLDERS,
        *(f"{above}data{name}" for above in ("", f"{LOST}/") for name in ("", *map("/{}".format, streams))),
    }
    described = {HEADER_PATH, "data/zarr.json", *(f"data/{stream}/zarr.json" for stream in streams)}

    def is_ours(name: str, is_folder: bool) -> bool:
        inner = name.removeprefix(f"{FOLDER}/")
        if is_folder or name in described or TEMPORARY_FILE.fullmatch(name) or LOST_RECORD.fullmatch(name):
            return not is_folder or name in folders
        if inner != name:
            return bool(taken_numbers([inner]) or TABLE.fullmatch(inner))
        found = data.fullmatch(name.removeprefix(f"{LOST}/"))
        if not found or highest is None or int(found[1]) <= highest:
            return bool(found)
        copies = [*(f"data/{stream}/c.{found[1]}.0.json" for stream in streams), f"data/{found[1]}.h5.json"]
        stores = [_document(root / copy).get("store") for copy in copies]
        return bool(header.get("id")) and header["id"] in stores

    return is_ours


def _texts(value: Any) -> list[str]:
    """Return the keys of an object of JSON, nothing if it is none."""
    return [key for key in value if isinstance(key, str)] if isinstance(value, dict) else []


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
