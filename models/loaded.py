"""Every kind of model that takes an image and answers an alpha, once it is loaded.

Made by `models.registry`; `server.replica` puts each into its pipeline. All have `manifest`,
`engine`, `weights_sha256`, `max_batch`, `max_concurrent_runs`, `warm` and `close`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from models.device_model import DeviceModel
    from models.key_model import KeyModel
    from models.model import Model

Loaded: TypeAlias = "Model | DeviceModel | KeyModel"
