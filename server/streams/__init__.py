"""Streams of frames. Reading order: `config` (the first message), `flow` (reader, window, writer),
`session` (a frame's way), `memory` and `turns` (what is kept between frames, in their order),
`unchanged` (frames that equal the one before), `parked` (what broken streams left).
"""
