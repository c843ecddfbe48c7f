"""Models: manifests, weights and the engines that run them.

Reading order: `manifest` (what a model is), `registry` (which there are), `weights` and `pull`
(where the bytes come from), `engine` (what running means), `onnx_engine` (ONNX Runtime), `model`
(all of it together).
"""
