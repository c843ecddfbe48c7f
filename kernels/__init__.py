"""Array work on images and alphas, free of models and wire.

Reading order: `reference` (NumPy twins: the readable truth), `cpu` (the OpenCV fast path, tested
against the twins). The CUDA kernels (`*.cu`) and their launchers join here under the same names.
"""
