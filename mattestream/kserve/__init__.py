"""Generated stubs of the KServe v2 protocol, in a package of our own: `v2`."""
