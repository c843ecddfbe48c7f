"""Frames that stay where they are: POSIX shared memory of callers on the same machine, in and out.

Reading order: `policy` (who may name what), `region` (an open object: bounds, copies that cannot
fault), `regions` (those that are kept open), `door` (messages to sources and targets, what the
services use). docs/shared-memory.md is the operator's page.
"""
