"""Pixels in, pixels out: every image format the server reads and writes; no models, no wire.

Reading order: `errors` (what can be wrong with a caller's image), `sniff` and `header` (type and
size without a pixel decoded), `decode` (one door in; `jpeg`, `png_read`, `tiff`, `pillow` and `raw`
behind it, `exif` beside them), `encode` (one door out; `png` and `deflate` behind it).
"""
