"""Measurements: the server beside a peer, beside the sum of its stages, and over many requests.

Nothing of the application imports this package. Four programs, each `python -m loadtest.NAME`:

    compare_rembg   both servers on the same ONNX and photos, at 1, 4 and 16 callers
    stages          what the server adds to the sum of the fastest known stages, for one caller
    soak            thousands of mixed requests; does memory stay where it is?
    gpu_check       on a machine with a GPU: every kernel and the whole path there, docs/gpu.md

What they share: `photos` (what is sent), `networks` (the ONNX both servers run), `servers` (a
server as a process: start, watch, stop), `callers` (the load, in a process of its own), `answers`
(is it a cut-out?), `figures` (the arithmetic) and `report` (machine facts, tables, files in
`results/`).
"""
