"""Everything that only a GPU can settle, in one command: `make gpu-check`.

    python -m loadtest.gpu_check --out loadtest/results

Under 8 minutes, no network, nothing needed beyond CuPy, NumPy, PyTorch, pytest, OpenCV and ONNX
Runtime; what a machine lacks is a skipped row with the reason. Reading order:

    __main__        runs the sections, prints the table, writes gpu-<date>.json
    rows            one row of the table; the table; the file
    sections        which sections there are; each runs in a process of its own, on a budget
    kernel_tests    the kernels' own tests, on the device
    sanitizer       compute-sanitizer over small_launches, small_variants and small_flow
    cases, bench    what each kernel is measured on (cases_*); buffers and the clock
    bandwidth       each kernel's GB/s beside a copy of as many bytes
    flow            one frame through the pipeline: graphs, copies, allocations
    latency         the pipeline's p50 and p95, and the engine alone
    engines         which engines can run here; torch_engine is for machines without TensorRT
    sharing         PyCUDA, CuPy and a foreign stream together; page-locked shared memory

All that needs no device is tested without one (tests/loadtest/gpu_check).
"""
