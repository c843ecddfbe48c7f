"""What is laid under the subject: `shadow`. Called by `server.options.reader`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from server.option_rules import Choice, Number, Rule

_ANY = Number(-math.inf, math.inf)

RULES: Mapping[str, Rule] = {
    "shadow.kind": Choice(frozenset()),
    "shadow.opacity": Number(0, 1),
    "shadow.blur_px": Number(0, 200),
    "shadow.offset_x_px": _ANY,
    "shadow.offset_y_px": _ANY,
}
