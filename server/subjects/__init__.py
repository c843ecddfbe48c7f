"""Which subject is meant, and its alpha: the largest, a part of the picture, what points, a box or
a rough mask show; or each one by itself.

`wish` says what a caller wants, `pieces` takes an alpha apart, `prompter` asks the promptable model
and keeps what it has seen in `seen`, `joined` makes one alpha of its answer and the matte.
`server.finishing` applies a wish before anything else is done to the alpha; `server.subjects.
segmenter` answers `Segment`.
"""
