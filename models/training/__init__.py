"""How the family of matting models is made; the only part of the project that imports torch.

Reading order: `data` (the pictures), `view`, `subject`, `ground` and `jitter` (what happens to one
of them), `composite` (one sample from a seed), `network`, `losses`, `config`, `trainer` (one step),
`team` (several processes), `train` (the loop), `validation`, `warm_start` and `from_onnx` (earlier
weights, also those of a released file), `pseudo` (more masks), `metrics` and `evaluate` (what a
model is worth), `looks` and `export` (to ONNX). On a GPU `resident`, `device_sampler` and
`device_jitter` take the samplers' place, and `pack` makes the pictures fit to carry there. The
promptable model: `prompts`, `scenes`, `click_network`, `export_click`, `evaluate_click`. A TOML
file for each model holds all numbers of its run.
Nothing outside this package imports it: the server needs only the ONNX files.
"""
