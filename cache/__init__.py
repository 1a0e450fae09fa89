"""The feature store: features are made once and read for months. Needs numpy only.

The names below load on first use, so that `import cache` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.compression import Compression
    from cache.errors import DamagedError, MadeByOtherError, NotFoundError, StoreError
    from cache.header import StreamSpec
    from cache.store import FeatureStore
    from cache.writer import Writer

__distribution__ = "slt-pipeline"
__all__ = [
    "Compression",
    "DamagedError",
    "FeatureStore",
    "MadeByOtherError",
    "NotFoundError",
    "StoreError",
    "StreamSpec",
    "Writer",
]

_HOMES = {
    "Compression": "cache.compression",
    "FeatureStore": "cache.store",
    "DamagedError": "cache.errors",
    "MadeByOtherError": "cache.errors",
    "NotFoundError": "cache.errors",
    "StoreError": "cache.errors",
    "StreamSpec": "cache.header",
    "Writer": "cache.writer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cache' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
