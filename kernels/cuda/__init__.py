"""Kernels: each operation is a `.cu` file and a launcher of the same name.

Reading order: `prelude.cuh` (types that all share), any operation's `.cu` (its head comment says
what it computes), then its launcher. `launch` holds what launchers share, `source` puts prelude and
file together, `catalogue` lists what there is.
"""
