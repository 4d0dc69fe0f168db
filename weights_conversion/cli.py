"""The command line: what there is to say, and what becomes of errors.

Exit codes: 0 all went well; 1 the input is wrong, with a message; 2 the command is wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from adapterzoo.archs import ARCHITECTURES
from adapterzoo.version import __version__
from weights_conversion import convert_command, inspect_command

DTYPES = ("float32", "float16", "bfloat16", "float64")


def parser() -> argparse.ArgumentParser:
    """What the command line understands."""
    top = argparse.ArgumentParser(prog="python -m weights_conversion", description=__doc__.partition("\n")[0])
    top.description = "Tell what checkpoints and adapters hold, and convert them."
    top.add_argument("--version", action="version", version=f"adapterzoo {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    look = commands.add_parser("inspect", help="tell what a directory holds, and which tensor is which of ours")
    _add_source(look, "a model's, an adapter's or a head's directory, or its name on the Hub")
    look.add_argument("--json", action="store_true", help="print JSON, every tensor in it")
    look.add_argument("--all", action="store_true", help="a line for every tensor, layers with equal lines not joined")
    look.set_defaults(run=inspect_command.run)

    convert = commands.add_parser("convert", help="write a checkpoint as safetensors, a task's flexible head beside it")
    _add_source(convert, "a model's directory, or its name on the Hub")
    convert.add_argument("target", metavar="DST", help="the directory to write")
    convert.add_argument("--force", action="store_true", help="replace the model that DST holds")
    convert.add_argument("--dtype", choices=DTYPES, help="dtype of the weights; without it each keeps its own")
    convert.add_argument("--drop-unexpected", action="store_true", help="leave out tensors that have no place")
    convert.add_argument("--dry-run", action="store_true", help="tell what would be done, and write nothing")
    convert.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    convert.set_defaults(run=convert_command.run)
    return top


def _add_source(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("source", metavar="SRC", help=what)
    command.add_argument(
        "--allow-pickle", action="store_true", help="read PyTorch's own files, too (tensors only; no code is run)"
    )
    command.add_argument(
        "--model-type", choices=list(ARCHITECTURES), help="the architecture, where config.json does not say it"
    )
    command.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="the class, such as BertForMaskedLM, in place of the one that config.json names",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. A command that cannot be understood exits with 2."""
    given = parser().parse_args(argv)
    try:
        code: int = given.run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has seen enough: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def command() -> NoReturn:
    """The process: as `main`, and asked to end it leaves nothing half-done behind."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
