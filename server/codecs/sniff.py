"""The type of a file from its first bytes, never from a name or a claim. Called by `header`.

Types that are not read are named too: "this is a PDF" helps a caller more than "unknown format".
"""

from __future__ import annotations

from server.codecs.errors import SEND_ONE_OF, NotAnImage

_OTHER_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
)
# Sizes of the header that follows: two letters alone would take a text about a car maker.
_BMP_HEADERS = frozenset(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))


def image_format(data: bytes) -> str:
    """One of "jpeg", "png", "webp", "avif", "tiff", "bmp", "gif".

    Raises:
        NotAnImage: anything else; the sentence says what it looks like.
    """
    if not data:
        raise NotAnImage(f"the image is empty (0 bytes): {SEND_ONE_OF}")
    # JPEG's third byte is checked too: two bytes alone let too much other data through.
    if data.startswith(b"\xff\xd8\xff"):
        found = "jpeg"
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        found = "png"
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        found = "webp"
    elif data.startswith((b"GIF87a", b"GIF89a")):
        found = "gif"
    elif data.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        found = "tiff"
    elif data.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
        found = "bmp"
    elif data[4:8] == b"ftyp" and _brands(data) & {b"avif", b"avis"}:
        found = "avif"
    else:
        raise NotAnImage(f"the data is {_guess(data)}, which is not read: {SEND_ONE_OF}")
    return found


def _brands(data: bytes) -> frozenset[bytes]:
    """Major and compatible brands of an ISO media file's first box."""
    box = data[8 : min(int.from_bytes(data[:4], "big"), 512)]
    return frozenset(box[at : at + 4] for at in range(0, len(box) - 3, 4) if at != 4)


def _guess(data: bytes) -> str:
    """What data of no type that is read looks like, with its article."""
    for magic, name in _OTHER_MAGICS:
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return "a HEIC/HEIF image" if _brands(data) & _HEIF_BRANDS else "an MP4 or MOV video"
    head = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in head:
        return "an SVG drawing"
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page (an error page instead of the picture?)"
    try:
        text = data[:256].decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut at the end of the sample does not make it binary.
        if error.start < len(data[:256]) - 3:
            return f"of an unknown type (it begins with {data[:8].hex(' ')})"
        text = data[: error.start].decode("utf-8")
    printable = all(letter.isprintable() or letter.isspace() for letter in text)
    return "text" if printable else f"of an unknown type (it begins with {data[:8].hex(' ')})"
