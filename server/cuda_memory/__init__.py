"""Pictures that never leave the GPU: callers' device memory by CUDA IPC handles, in and out.

Reading order: `leases` (which handles are open, and for whom), `ranges` (parts of them, checked),
`door` (messages to sources and targets, what the services use). The pipeline's side is
`server.device_sharing`; docs/shared-memory.md is the operator's page.
"""
