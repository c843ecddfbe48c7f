"""Measurements: the server beside a peer, beside the sum of its stages, over many requests, under
too many, and in streams.

Nothing of the application imports this package. The programs, each `python -m loadtest.NAME`:

    bench           beside rembg in one run: networks, sizes, 1 to 64 callers, plots
    compare_rembg   the same for one network and size, with rounds in turn
    stages          what the server adds to the sum of the fastest known stages, for one caller
    batching        what batches across callers bring on an engine as a GPU's
    streams         frames per second beside the engine alone
    overload        ten times more than the server can do: deadlines, refusals, recovery
    soak            thousands of mixed requests; does memory stay where it is?
    gpu_check       on a machine with a GPU: every kernel and the whole path there, docs/gpu.md

And `locustfile` for Locust. What they share: `photos` (what is sent), `networks` (the ONNX both
servers run), `servers` (a
server as a process: start, watch, stop), `callers` (the load, in a process of its own), `answers`
(is it a cut-out?), `figures` (the arithmetic) and `report` (machine facts, tables, files in
`results/`).
"""
