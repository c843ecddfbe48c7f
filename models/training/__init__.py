"""How the built-in matting model is made; the only part of the project that imports torch.

Reading order: `data` (the pictures), `composite` and `jitter` (one sample from a seed), `network`,
`losses`, `config` and `train` (the loop), `metrics` and `evaluate` (what it is worth), `export` (to
ONNX). `data`, `composite`, `jitter`, `metrics` and `evaluate` work without torch.
Nothing outside this package imports it: the server needs only the ONNX file.
"""
