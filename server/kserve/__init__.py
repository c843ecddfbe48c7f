"""The KServe v2 protocol with Triton's additions, as `inference.GRPCInferenceService` on the
server's own port: `tritonclient` and its kin work unchanged.

Reading order: `names` (a model's two faces), `errors`, `datatypes`, `parameters` and `tensors`
(what comes in and goes out, by value or in shared memory), `asked` (a request with its deadline and
its place) and `outputs` (its answer's tensors). The faces: `tensor_face`; `pipeline_face` with
`pictures`, `options` and `treatments`. Around them `describe`, `statistics`, `repository`,
`shared_regions` and `settings`. `answers` takes a request through all of it, alone or out of
`streams`; then `service`, which has a method for each call, and `wiring`, which puts it on the
wire. docs/triton.md is the user's page.
"""
