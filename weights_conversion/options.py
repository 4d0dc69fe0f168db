"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from adapterzoo.archs import ARCHITECTURES

Command = Callable[..., Any]

DTYPES = ("float32", "float16", "bfloat16", "float64")

ALLOW_PICKLE = click.option(
    "--allow-pickle", is_flag=True, help="Read PyTorch's own files, too: tensors only, no code is run."
)
FAIRSEQ_HEAD = click.option(
    "--fairseq-head",
    metavar="NAME",
    help="Of a checkpoint of fairseq's with several heads the one to take; lm_head for pretraining's.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
FORCE = click.option("--force", is_flag=True, help="Replace what DST holds, at the very end.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Tell what would be done, and write nothing.")
TOLERANCE = click.option(
    "--tolerance", type=click.FloatRange(min=0), help="Absolute difference up to which numbers agree."
)
VERIFY = click.option(
    "--verify", is_flag=True, help="Run source and DST on the same inputs first; write only if they agree."
)
MODEL_TYPE = click.option(
    "--model-type", type=click.Choice(list(ARCHITECTURES)), help="The architecture, where config.json does not say it."
)
CLASS = click.option(
    "--class", "class_name", metavar="NAME", help="The class, such as BertForMaskedLM, in place of config.json's."
)
WITHOUT_HEAD = click.option("--without-head", is_flag=True, help="Leave the head beside an adapter behind.")
BASE = click.option("--base", metavar="MODEL", help="The model that an adapter is for: a directory or a Hub name.")


def options(*several: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options at once, in the order in which help lists them."""

    def add(command: Command) -> Command:
        for one in reversed(several):
            command = one(command)
        return command

    return add
