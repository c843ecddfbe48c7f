"""Array work on images and alphas, free of models and wire.

Reading order: `reference` (NumPy twins: the readable truth), `cpu` (OpenCV), `device` (what a GPU
is asked for), `cuda` (the kernels and their launchers), `cupy_device` (a real GPU). All are tested
against the twins.
"""
