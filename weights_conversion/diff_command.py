"""`diff`: two directories tensor by tensor."""

from __future__ import annotations

import json
from collections import Counter

import click

from adapterzoo import formats
from adapterzoo.conversion.differences import STATES, Line, differences, flat
from adapterzoo.conversion.sources import opened
from adapterzoo.peft_files import folder_of
from adapterzoo.progress import Steps
from weights_conversion.options import ALLOW_PICKLE, FAIRSEQ_HEAD, JSON, QUIET, TOLERANCE, options
from weights_conversion.text import finite


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--all", "every", is_flag=True, help="List equal tensors, too.")
@options(TOLERANCE, JSON, ALLOW_PICKLE, FAIRSEQ_HEAD, QUIET)
def diff(
    first: str,
    second: str,
    every: bool,
    tolerance: float | None,
    as_json: bool,
    allow_pickle: bool,
    fairseq_head: str | None,
    quiet: bool,
) -> int:
    """Compare A and B tensor by tensor: equal, close, different, renamed, or only in one of them.

    Names are the files' own; those of a part (an adapter beside a model) follow the part's. Exits with 1 if anything
    differs: if a tensor is in one of them alone, or has another shape, or numbers further apart than the tolerance.

    --fairseq-head is A's.
    """
    with opened(first, allow_pickle, fairseq_head) as mine, opened(second, allow_pickle) as yours:
        one, other = (flat(formats.read(folder_of(source.place))) for source in (mine, yours))
        with Steps(len(one), quiet) as steps:
            lines = differences(one, other, tolerance or 0.0, steps)
    count = Counter(line.state for line in lines)
    same = all(line.same for line in lines)
    if as_json:
        told = {"same": same, "count": dict(count), "tensors": [finite(line._asdict()) for line in lines]}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    elif not quiet:
        shown = [line for line in lines if every or line.state != "equal"]
        print("\n".join([*map(_text, shown), ", ".join(f"{count[state]} {state}" for state in STATES if count[state])]))
    return 0 if same else 1


def _text(line: Line) -> str:
    name = f"{line.first} -> {line.second}" if line.state == "renamed" else str(line.first or line.second)
    why = [line.why] if line.why else []
    why += [] if line.largest is None else [f"largest difference {line.largest:.3g}"]
    return f"{line.state}: {name}" + (f" ({'; '.join(why)})" if why else "")
