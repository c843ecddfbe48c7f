"""The models that a configuration knows and where they run; asked by the server and by every CLI
command.
"""

from __future__ import annotations

from typing import cast

from models.registry import Registry
from models.target import EngineChoice, Precision, Target, find_targets
from server.config import Config


def open_registry(config: Config) -> Registry:
    """The registry over the shipped models and the operator's folders."""
    return Registry(
        config.model_dirs,
        cache_dir=config.cache_dir,
        accepted_licences=frozenset(config.accept_licenses),
    )


def targets(config: Config) -> tuple[Target, ...]:
    """The devices that models are loaded on.

    Raises:
        DeviceNotAvailable: what was asked for is not there; the sentence says what adds it.
    """
    # The configuration has checked the words already.
    return find_targets(
        config.device, cast(EngineChoice, config.engine), cast(Precision, config.precision)
    )
