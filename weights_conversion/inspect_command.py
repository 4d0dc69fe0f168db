"""`inspect`: what a directory holds."""

from __future__ import annotations

import json
import sys

import click

from adapterzoo.conversion.inspection import inspect_source
from adapterzoo.conversion.sources import opened
from weights_conversion import text
from weights_conversion.options import ALLOW_PICKLE, CLASS, JSON, MODEL_TYPE, options


@click.command()
@click.argument("source", metavar="SRC")
@click.option("--all", "every", is_flag=True, help="A line for every tensor; else layers with equal lines share one.")
@options(JSON, ALLOW_PICKLE, MODEL_TYPE, CLASS)
def inspect(
    source: str, every: bool, as_json: bool, allow_pickle: bool, model_type: str | None, class_name: str | None
) -> int:
    """Tell what SRC holds, and which of its tensors is which of ours.

    Exits with 1 if the tensors do not make up what SRC says that it is.
    """
    with opened(source, allow_pickle) as found:
        facts = found.named(inspect_source(found.place, False, model_type, class_name))
    print(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else text.report(facts, every))
    problems = facts.get("problems")
    if problems:
        print(f"error: {source} is no whole {facts['class']}; see problems", file=sys.stderr)
    return 1 if problems else 0
