"""`inspect`: what a directory holds."""

from __future__ import annotations

import json
import sys

import click

from adapterzoo.conversion.facts import every
from adapterzoo.conversion.file_facts import add_files
from adapterzoo.conversion.inspection import inspect_source
from adapterzoo.conversion.odd import add_odd
from adapterzoo.conversion.sources import opened
from weights_conversion import text
from weights_conversion.options import ALLOW_PICKLE, CLASS, FAIRSEQ_HEAD, JSON, MODEL_TYPE, options


@click.command()
@click.argument("source", metavar="SRC")
@click.option("--all", "every_line", is_flag=True, help="A line for every tensor; else equal layers share one.")
@click.option("--without-values", is_flag=True, help="Look at names and shapes alone, not for odd values.")
@options(JSON, ALLOW_PICKLE, MODEL_TYPE, CLASS, FAIRSEQ_HEAD)
def inspect(
    source: str,
    every_line: bool,
    without_values: bool,
    as_json: bool,
    allow_pickle: bool,
    model_type: str | None,
    class_name: str | None,
    fairseq_head: str | None,
) -> int:
    """Tell what SRC holds, and which of its tensors is which of ours.

    SRC is a model, an adapter, a head, a fusion, a setup or an embedding: a directory, or a repository's name on the
    Hub; or a checkpoint of fairseq's or of Google's BERT. It is told who wrote it, in which files, sizes and dtypes, a
    table of the tensors, what is missing or too much, what lies beside or inside, and which tensors are odd: NaN, Inf,
    all zero, or as they were before any training.

    \b
    inspect bert                           a table for people
    inspect bert --json | jq .odd          everything, for programs
    inspect old-bert --allow-pickle        PyTorch's files
    inspect my-adapter                     the model that it is for need not be there

    Exits with 1 if the tensors do not make up what SRC says that it is. Odd values are told, and do no harm to that.
    """
    with opened(source, allow_pickle, fairseq_head) as found:
        facts = inspect_source(found.place, False, model_type, class_name)
        if not without_values:
            add_odd(facts)
        facts = found.named(add_files(facts, found.made_of))
    plain = json.dumps(text.finite(facts), indent=2, ensure_ascii=False, allow_nan=False) if as_json else None
    print(text.report(facts, every_line) if plain is None else plain)
    wrong = [one for one in every(facts) if one["problems"]]
    for one in wrong:
        print(f"error: {one['source']} is no whole {one.get('class', one['kind'])}; see problems", file=sys.stderr)
    return 1 if wrong else 0
