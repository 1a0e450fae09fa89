"""slt: sign language translation in two phases, with a feature store between them."""

import cache as _cache

__version__ = "0.1.0"

if getattr(_cache, "__distribution__", None) != "slt-pipeline":
    _where = getattr(_cache, "__file__", None) or list(_cache.__path__)
    raise ImportError(
        f"the package `cache` at {_where} is not the feature store of slt-pipeline and hides it; "
        "remove or rename it (or take its folder off PYTHONPATH)"
    )
