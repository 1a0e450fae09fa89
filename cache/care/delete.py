"""Deleting a whole store, and nothing else."""

from pathlib import Path

from cache.errors import StoreError, cannot_read
from cache.header import FORMAT, HEADER_PATH, unseal

FOLDERS = ("index", "data", "tmp")
"""In the order of deletion: a store whose index goes first is at any moment a whole store of fewer clips."""


def delete(path: str | Path) -> None:
    """Delete a store. Killed in between, what is left is a store of fewer clips, and `delete` goes on with it.

    Raises:
        StoreError: before anything is deleted, if there is no store, or its folder holds anything else.
    """
    for entry in deletable(path):
        try:
            entry.rmdir() if entry.is_dir() else entry.unlink()
        except OSError as error:
            raise StoreError(
                f"cannot delete {entry} ({error.strerror or error}): what is left is a store of fewer clips; make sure "
                "that nobody writes to it, and delete it again"
            ) from error


def deletable(path: str | Path) -> list[Path]:
    """Return what a store consists of in the order of deletion, its folder last. Raises as `delete` does."""
    if "://" in str(path):
        raise StoreError(f"{path} is an object store, which is read only: delete it with the tools of the object store")
    try:
        if Path(path).is_symlink():
            target = Path(path).readlink()
            raise StoreError(f"{path} is a link to {target}, so nothing was deleted: name the store itself")
        _require_store(Path(path))
        return _parts(Path(path).resolve())
    except OSError as error:
        raise cannot_read(str(path), error) from error


def _parts(root: Path) -> list[Path]:
    strange = sorted(entry.name for entry in root.iterdir() if entry.name not in (HEADER_PATH, *FOLDERS))
    if strange:
        raise StoreError(
            f"{root} holds {strange[0]!r}, which is no part of a store, so nothing was deleted: move it elsewhere first"
        )
    found = [
        entry for folder in FOLDERS if (root / folder).exists() for entry in [*_below(root / folder), root / folder]
    ]
    return [*found, root / HEADER_PATH, root]


def _require_store(root: Path) -> None:
    header = root / HEADER_PATH
    try:
        is_store = unseal(header.read_bytes(), str(header)).get("format") == FORMAT
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"there is no feature store at {root}, so nothing was deleted") from None
    except StoreError:
        is_store = False
    if not is_store:
        raise StoreError(
            f"{header} is damaged or of no feature store, so nothing was deleted: if {root} can go, delete it by hand"
        )


def _below(folder: Path) -> list[Path]:
    """Return files and folders below a folder, those inside first.

    Files are in ascending order: the record of a shard that was replaced goes before the one that stands for it.
    """
    if folder.is_symlink():
        raise StoreError(f"{folder} is a link to {folder.readlink()}, so nothing was deleted: remove it by hand")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise cannot_read(str(folder), error) from error
    found: list[Path] = []
    for entry in entries:
        found += _below(entry) if entry.is_dir() or entry.is_symlink() else []
        found.append(entry)
    return found
