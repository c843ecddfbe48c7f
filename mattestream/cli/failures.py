"""Failures as one sentence on stderr and an exit code; used around every command's work.

Exit codes: 0 all went well, 1 something failed, 2 the command line or a setting is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from mattestream.cli.libraries import SERVER_LIBRARIES
from mattestream.cli.wording import in_flags

FAILED = 1
USAGE = 2


class Failure(click.ClickException):
    """Ends the command with a sentence and exit code 1."""

    exit_code = FAILED


class WrongUse(click.ClickException):
    """Ends the command with a sentence and exit code 2."""

    exit_code = USAGE


def missing_extra(error: ModuleNotFoundError) -> str:
    """The sentence for a missing library; empty when the library is not one of the extra's."""
    name = error.name or ""
    known = (library.module for library in SERVER_LIBRARIES)
    if any(name == module or name.startswith(f"{module}.") for module in known):
        return (
            f"{name.partition('.')[0]} is not installed: the server and local mode need "
            "pip install 'mattestream[server]' (a client with --address does not)"
        )
    return ""


@contextlib.contextmanager
def as_sentences() -> Iterator[None]:
    """Turns the application's and the client's errors into `Failure` and `WrongUse`."""
    from kernels.device import DeviceError
    from mattestream.errors import InvalidRequest, MattestreamError
    from models.errors import ModelError
    from server.config_key import ConfigError
    from server.option_rules import InvalidOption, NotBuilt

    try:
        yield
    except ModuleNotFoundError as error:
        sentence = missing_extra(error)
        if not sentence:
            raise
        raise Failure(sentence) from error
    except ConfigError as error:
        raise WrongUse(str(error)) from error
    except (InvalidOption, InvalidRequest, NotBuilt) as error:
        raise WrongUse(in_flags(str(error))) from error
    except (DeviceError, MattestreamError, ModelError) as error:
        raise Failure(str(error)) from error
