"""`merge`: adapters folded into a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import torch

from adapterzoo.conversion.folder import check_target, passing_folder, whole_folder
from adapterzoo.conversion.inspection import inspect_source
from adapterzoo.conversion.merged import STEPS, verified_merge
from adapterzoo.conversion.merged import merge as merged
from adapterzoo.conversion.record import Told, left_out, mapping, write_record
from adapterzoo.conversion.sources import Opened, opened
from adapterzoo.progress import Steps
from weights_conversion.options import (
    ALLOW_PICKLE,
    DRY_RUN,
    DTYPES,
    FAIRSEQ_HEAD,
    FORCE,
    JSON,
    QUIET,
    TOLERANCE,
    VERIFY,
    WITHOUT_HEAD,
    options,
)
from weights_conversion.telling import Report, sizes


@click.command()
@click.argument("base", metavar="BASE")
@click.argument("adapters", metavar="ADAPTER...", nargs=-1, required=True)
@click.argument("target", metavar="DST")
@click.option("--dtype", type=click.Choice(DTYPES), help="Dtype of the weights; the model's own without it.")
@options(VERIFY, TOLERANCE, FORCE, DRY_RUN, JSON, WITHOUT_HEAD, ALLOW_PICKLE, FAIRSEQ_HEAD, QUIET)
def merge(
    base: str,
    adapters: tuple[str, ...],
    target: str,
    dtype: str | None,
    verify: bool,
    tolerance: float | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    without_head: bool,
    allow_pickle: bool,
    fairseq_head: str | None,
    quiet: bool,
) -> int:
    """Fold each ADAPTER into the weights of BASE, and write DST: a checkpoint that plain transformers opens.

    Several adapters act as a stack of them would. The head beside the last one that has a head becomes the
    checkpoint's own.

    \b
    merge bert my-lora merged --verify          run both, and write only if they agree
    merge bert language task merged             the task's on top of the language's
    """
    place, record = Path(target), None
    for source in (base, *adapters):
        check_target(place, source, force)
    with ExitStack() as stack:
        model = stack.enter_context(opened(base, allow_pickle, fairseq_head))
        beside = [stack.enter_context(opened(source, allow_pickle)) for source in adapters]
        folder = stack.enter_context(passing_folder() if dry_run else whole_folder(place))
        steps = stack.enter_context(Steps(STEPS + verify, quiet=quiet))
        wanted = None if dtype is None else getattr(torch, dtype)
        places = [one.place for one in beside]
        name = merged(model.place, places, folder, steps, wanted, not without_head)
        facts = inspect_source(model.place, False)
        if verify:
            steps("verifying")
            outcome = verified_merge(model.place, places, folder, not without_head, tolerance)
            outcome.demand(target)
            asked = {"dtype": dtype, "without_head": without_head, "fairseq_head": fairseq_head}
            record = _record(folder, facts, [model, *beside], asked, outcome.to_dict())
        files = sizes(folder)
    told = Report(model.named(facts), target, "hf", name, dtype, not dry_run, files, (), record)
    told.tell(as_json, quiet)
    return 0


def _record(
    folder: Path, facts: dict[str, Any], sources: Sequence[Opened], asked: dict[str, Any], outcome: dict[str, Any]
) -> dict[str, Any]:
    """Write down how the checkpoint came to be."""
    names = ["source", *(f"adapter {number}" for number in range(1, len(sources)))]
    tensors = mapping(Told(facts, False), Told(inspect_source(folder, False), False))
    told = {name: one.source for name, one in zip(names, sources, strict=True)}
    return write_record(folder, told, asked, tensors, left_out(facts), outcome)
