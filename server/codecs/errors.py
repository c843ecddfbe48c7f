"""What can be wrong with a caller's image, one class per kind of answer. Raised by every codec.

    ImageRejected       the image cannot be worked on; the message is a sentence for the caller
    |- NotAnImage       the bytes are of no type that is read
    |- ImageDamaged     the right type, but cut off or broken
    |- ImageTooLarge    more pixels or longer sides than are taken, or the result's format holds
    |- RawLayoutWrong   raw pixels whose size, strides and length contradict each other
    |- CodecMissing     a sound image of a kind that is not read here
    `- OutlineTooLong   a mask so ragged that polygons of it are of no use

Apart from the codecs so that `server.errors` can list them without importing an image library.
"""

from __future__ import annotations

SEND_ONE_OF = "send JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF"


class ImageRejected(Exception):
    """The caller's image cannot be worked on. The message says what was seen, what is allowed, what
    to do.
    """


class NotAnImage(ImageRejected):
    """The bytes are empty or of no type that is read."""


class ImageDamaged(ImageRejected):
    """The type is known, but the bytes are cut off or contradict themselves."""

    @classmethod
    def because(cls, image_format: str, reason: str) -> ImageDamaged:
        """The usual sentence: which format, what is wrong with it, what to do."""
        return cls(
            f"the {NAMES.get(image_format, image_format)} is damaged or cut off ({reason}):"
            " send the whole file, or save it anew"
        )


class ImageTooLarge(ImageRejected):
    """More pixels, or a longer side, than the server takes or the asked format can hold."""


class RawLayoutWrong(ImageRejected):
    """Raw pixels whose size, strides and length do not fit together."""


class CodecMissing(ImageRejected):
    """A sound image of a kind that this server, or this build of it, does not read."""


class OutlineTooLong(ImageRejected):
    """A mask so ragged that polygons of it would be of no use to anybody."""

    def __init__(self, seen: int, what: str, allowed: int) -> None:
        super().__init__(
            f"the mask has {seen} {what}, polygons hold up to {allowed}: remove specks and holes "
            "(edges.remove_specks_px, edges.fill_holes_px), or ask for OUTPUT_MASK_RLE"
        )


NAMES = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "avif": "AVIF",
    "tiff": "TIFF",
    "bmp": "BMP",
    "gif": "GIF",
}
