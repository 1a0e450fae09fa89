"""Where a store lies: a folder, or a copy in an object store, told apart by the path."""

import re
from pathlib import Path

from cache.errors import StoreError
from cache.places.base import Files
from cache.places.local import LocalFiles


def files_at(path: str | Path, *, durable: bool = True) -> Files:
    """Return the files of a folder, or of an object store if `path` is a URL.

    Raises:
        StoreError: if a path has a NUL in it or is a spoilt URL, or the object store cannot be asked.
    """
    if "\0" in str(path):
        raise StoreError(f"{str(path)!r} has a NUL in it, which no path has: look where it comes from")
    if isinstance(path, Path) and re.match("[a-z][a-z0-9]+:/", str(path)):
        raise StoreError(f"{path} was a URL before it was made a Path: give it as text")
    if "://" not in str(path):
        return LocalFiles(path, durable=durable)
    # Only now, as `cache.places.objects` remembers the process that imports it, and refuses to work in a fork of it.
    from cache.places.objects import ObjectFiles

    return ObjectFiles(str(path))
