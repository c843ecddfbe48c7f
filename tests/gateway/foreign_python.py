"""Runs a foreign client from PyPI with its address of remove.bg replaced by the test's server.

    python foreign_python.py MODULE BASE_ADDRESS [ARGUMENT...]

Called by `test_foreign_clients` in a process of its own: these clients set up logging and end the
process as programs do. `removebg` is a library and gets a line of its own here, as its README has
it; `removebg_cli` is a program.
"""

from __future__ import annotations

import importlib.util
import sys
import types


def load(name: str, base: str) -> types.ModuleType:
    """The module, compiled from its source with the address replaced."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed")
    with open(spec.origin, encoding="utf-8") as file:  # noqa: PTH123
        source = file.read().replace("https://api.remove.bg", base)
    module = types.ModuleType(name)
    exec(compile(source, spec.origin, "exec"), module.__dict__)
    return module


def main() -> None:
    """The command line."""
    name, base, *arguments = sys.argv[1:]
    module = load(name, base)
    if name == "removebg_cli":
        sys.argv = ["removebg", *arguments]
        module.main()
        return
    kind, key, source, *more = arguments
    client = module.RemoveBg(key, "error.log")
    options = dict(pair.split("=", 1) for pair in more)
    if kind == "file":
        client.remove_background_from_img_file(source, **options)
    elif kind == "url":
        client.remove_background_from_img_url(source, **options)
    else:
        with open(source, encoding="ascii") as file:  # noqa: PTH123
            client.remove_background_from_base64_img(file.read(), **options)


if __name__ == "__main__":
    main()
