"""Deleting a whole store, and nothing else."""

from pathlib import Path

from cache.errors import StoreError
from cache.header import FORMAT, HEADER_PATH, unseal

FOLDERS = ("index", "data", "tmp")
"""In the order of deletion: a store whose index goes first is at any moment a whole store of fewer clips."""


def delete(path: str | Path) -> None:
    """Delete a store. Killed in between, what is left is a store of fewer clips, and `delete` goes on with it.

    Raises:
        StoreError: before anything is deleted, if there is no store, or its folder holds anything else.
    """
    for entry in deletable(path):
        entry.rmdir() if entry.is_dir() else entry.unlink()


def deletable(path: str | Path) -> list[Path]:
    """Return what a store consists of in the order of deletion, its folder last. Raises as `delete` does."""
    root = Path(path)
    if "://" in str(path):
        raise StoreError(f"{path} is an object store, which is read only: delete it with the tools of the object store")
    _require_store(root)
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
    if root.is_symlink():
        raise StoreError(f"{root} is a link to {root.readlink()}, so nothing was deleted: name the store itself")
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
    """Return files and folders below a folder, those inside first."""
    found = [folder, *folder.rglob("*")]
    links = [entry for entry in found if entry.is_symlink()]
    if links:
        raise StoreError(f"{links[0]} is a link to {links[0].readlink()}, so nothing was deleted: remove it by hand")
    return sorted(found[1:], reverse=True)  # what is inside a folder sorts after it
