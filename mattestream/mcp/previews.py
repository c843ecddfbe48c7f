"""The small picture that goes back with a tool's answer, so that an agent sees what it got.

Called by `mattestream.mcp.tools`. Vision models ignore alpha, and show what lies under it: what is
see-through is laid on grey first, which neither white nor black subjects vanish on.
"""

from __future__ import annotations

import base64
import io

from PIL import Image

SIDE_PX = 512
GREY = (128, 128, 128)
_QUALITY = 80
MEDIA_TYPE = "image/jpeg"


def preview(data: bytes) -> str:
    """The picture in the file `data`, its longer side at most 512 px, as a JPEG in base64.

    Raises:
        OSError: Pillow cannot read it.
    """
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB", (2 * SIDE_PX, 2 * SIDE_PX))  # a large JPEG is decoded small
        # Alpha counts in the shrinking: "a" modes resize with premultiplied colours.
        small = picture.convert("RGBA") if picture.has_transparency_data else picture.convert("RGB")
    if small.mode == "RGBA":
        small = small.convert("RGBa")
    small.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX, reducing_gap=2.0)
    if small.mode == "RGBa":
        straight = small.convert("RGBA")
        small = Image.new("RGB", straight.size, GREY)
        small.paste(straight, mask=straight.getchannel("A"))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY)
    return base64.b64encode(out.getvalue()).decode("ascii")
