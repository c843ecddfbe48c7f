"""The models that a configuration knows; asked by the server and by every CLI command."""

from __future__ import annotations

from models.registry import Registry
from server.config import Config


def open_registry(config: Config) -> Registry:
    """The registry over the shipped models and the operator's folders."""
    return Registry(
        config.model_dirs,
        cache_dir=config.cache_dir,
        accepted_licences=frozenset(config.accept_licenses),
    )
