"""The gRPC services: messages in, messages out, and nothing that works on pixels.

Reading order: `removal` (images) and its `intake`, `streams`, then `models`.
"""
