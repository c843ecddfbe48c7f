"""The HTTP door: the same pipeline for those who do not speak gRPC.

Reading order: `door` (the two functions behind everything), `exchange` (what every request passes),
`body` and `multipart` (what comes in), `errors` (how things go wrong, in each API's own words),
`answer` (what goes out); then the APIs: `own`, `removebg` with `removebg_parameters`, `rembg`,
`batches`; `openapi` and `docs_page` describe them; `fetch` brings pictures by URL; `rates` weighs
callers; `gateway` puts the routes together, `listener` opens the port, `connection` is one on it,
and `http_door` is all of it for `server.app`.

Nothing here knows how a background is removed: messages and options go in, as over gRPC.
"""
