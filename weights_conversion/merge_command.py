"""`merge`: adapters folded into a checkpoint."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click
import torch

from adapterzoo.conversion.folder import check_target, whole_folder
from adapterzoo.conversion.inspection import inspect_source
from adapterzoo.conversion.merged import STEPS, verified_merge
from adapterzoo.conversion.merged import merge as merged
from adapterzoo.conversion.record import Told, left_out, mapping, write_record
from adapterzoo.conversion.sources import opened
from adapterzoo.progress import Steps
from weights_conversion import text
from weights_conversion.options import ALLOW_PICKLE, DTYPES, FORCE, QUIET, TOLERANCE, VERIFY, WITHOUT_HEAD, options


@click.command()
@click.argument("base", metavar="BASE")
@click.argument("adapters", metavar="ADAPTER...", nargs=-1, required=True)
@click.argument("target", metavar="DST")
@click.option("--dtype", type=click.Choice(DTYPES), help="Dtype of the weights; the model's own without it.")
@options(VERIFY, TOLERANCE, FORCE, WITHOUT_HEAD, ALLOW_PICKLE, QUIET)
def merge(
    base: str,
    adapters: tuple[str, ...],
    target: str,
    dtype: str | None,
    verify: bool,
    tolerance: float | None,
    force: bool,
    without_head: bool,
    allow_pickle: bool,
    quiet: bool,
) -> int:
    """Fold each ADAPTER into the weights of BASE, and write DST: a checkpoint that plain transformers opens.

    Several adapters act as a stack of them would. The head beside the last one that has a head becomes the
    checkpoint's own.
    """
    place = Path(target)
    for source in (base, *adapters):
        check_target(place, source, force)
    with ExitStack() as stack:
        model, *beside = (stack.enter_context(opened(source, allow_pickle)).place for source in (base, *adapters))
        folder = stack.enter_context(whole_folder(place))
        steps = stack.enter_context(Steps(STEPS + verify, quiet=quiet))
        wanted = None if dtype is None else getattr(torch, dtype)
        name = merged(model, beside, folder, steps, wanted, not without_head)
        if verify:
            steps("verifying")
            outcome = verified_merge(model, beside, folder, not without_head, tolerance)
            outcome.demand(target)
            asked = {"dtype": dtype, "without_head": without_head}
            sources = {"source": base, **{f"adapter {number}": one for number, one in enumerate(adapters, 1)}}
            before, after = (Told(inspect_source(one), False) for one in (model, folder))
            write_record(folder, sources, asked, mapping(before, after), left_out(before.facts), outcome.to_dict())
        files = text.files(folder)
    if not quiet:
        print(f"wrote {target}, a {name}:\n{files}")
    return 0
