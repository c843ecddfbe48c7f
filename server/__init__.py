"""The wire: gRPC services around one pipeline that knows no wire.

Reading order: `app` builds everything; `services/` turns messages into jobs (`options`, `job`);
`interceptors` and `wire` stand before them; `admission`, `remover` and `batcher` decide when;
`pipeline` does the work with `codecs/`; `config` names every knob.
"""
