"""The command line: its commands, and what becomes of errors.

Exit codes: 0 done; 1 refused, with the reason; 2 the command cannot be understood; 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from adapterzoo.version import __version__
from weights_conversion.convert_command import convert
from weights_conversion.diff_command import diff
from weights_conversion.inspect_command import inspect
from weights_conversion.merge_command import merge
from weights_conversion.verify_command import verify

PROGRAM = "python -m weights_conversion"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="adapterzoo %(version)s")
def commands() -> None:
    """Look into checkpoints and adapters, convert them, and prove that they compute the same.

    SRC is a directory, or a repository's name on the Hub: a model of Hugging Face's, whole or in shards, a model saved
    by adapterzoo with its adapters and heads, an adapter, head, fusion or setup of AdapterHub's, an adapter of PEFT's.

    Begin with: inspect SRC
    """


for _command in (inspect, convert, verify, merge, diff):
    commands.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with commands.make_context(PROGRAM, words) as context:
            code = commands.invoke(context)
        sys.stdout.flush()
        return int(code or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:  # the reader has seen enough: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130


def command() -> NoReturn:
    """The process: as `main`, and asked to end it leaves nothing half-done behind."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
