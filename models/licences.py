"""Which weights an operator may use: those free for commercial use, and those whose licence was
accepted by name.

Called by `models.registry` before a model is loaded and by `models.pull` before it is fetched.
"""

from __future__ import annotations

from collections.abc import Collection

from models.errors import LicenceNotAccepted
from models.manifest import Manifest


def refusal(manifest: Manifest, accepted_licences: Collection[str]) -> str:
    """Why these weights may not be used, "" when they may.

    Args:
        manifest: the model.
        accepted_licences: names of licences or of models, as the operator gave them.
    """
    if manifest.commercial_use or {manifest.name, manifest.license} & set(accepted_licences):
        return ""
    return (
        f"model '{manifest.name}' has weights under '{manifest.license}', which does not allow "
        f"commercial use: if that suits you, accept it with --accept-license {manifest.name}"
    )


def require_accepted(manifest: Manifest, accepted_licences: Collection[str]) -> None:
    """Nothing, when the weights may be used.

    Raises:
        LicenceNotAccepted: they may not.
    """
    sentence = refusal(manifest, accepted_licences)
    if sentence:
        raise LicenceNotAccepted(sentence)
