"""`convert` of a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from adapterzoo.conversion.checkpoint import Checkpoint, open_checkpoint
from adapterzoo.conversion.convert import as_it_is
from adapterzoo.conversion.folder import passing_folder, whole_folder
from adapterzoo.conversion.hub_model import to_adapterhub
from adapterzoo.conversion.inspection import model_facts
from adapterzoo.conversion.output import Output, write
from adapterzoo.conversion.parted import Parted, parted
from adapterzoo.conversion.recast import to_fixed, to_flexible
from adapterzoo.conversion.record import Told, left_out, mapping, write_record
from adapterzoo.conversion.sources import Opened
from adapterzoo.conversion.verified import model_of, rounded_to, runs_of, tolerance_for, verified
from adapterzoo.pretrained import STATE, fixed_head_name, kept_names
from adapterzoo.progress import Steps
from adapterzoo.store import read_json, require
from weights_conversion.convert_call import Call
from weights_conversion.telling import Report, sizes


def convert(call: Call, found: Opened, place: Parted) -> int:
    """Convert a model, and tell of it.

    Args:
        call: what was asked for.
        found: the source, as it was opened.
        place: the same, with adapters and heads beside the model.
    """
    flexible_first = call.to == "hf" and _has_heads(place)  # whose class is that of what it becomes
    checkpoint = open_checkpoint(place.place, False, call.model_type, None if flexible_first else call.class_name)
    checkpoint.check(call.drop)
    facts = found._replace(place=place.place).named(model_facts(checkpoint))
    output = _output(call, checkpoint)
    own = "adapterzoo" if STATE in checkpoint.config.extra else "hf"
    record, files = None, dict.fromkeys(output.files(call.dtype, call.shard_size))
    if call.verify or not call.dry_run:
        with ExitStack() as stack:
            written = passing_folder() if call.dry_run else whole_folder(Path(call.target))
            folder = stack.enter_context(written)
            step = stack.enter_context(Steps(output.steps + 2 * call.verify, quiet=call.quiet))
            write(output, folder, call.dtype, step, call.shard_size)
            if call.verify:
                record = _verified(call, Told(facts, place.inside), checkpoint, output, folder, step)
            files = sizes(folder)
    to, dry, kind = call.to or own, call.dry_run, output.class_name
    Report(facts, call.target, to, kind, call.dtype, not dry, files, output.notes, record).tell(
        call.as_json, call.quiet
    )
    return 0


def _has_heads(place: Parted) -> bool:
    """Whether flexible heads lie beside the model."""
    return bool(kept_names(read_json(require(place.place, "config.json")).get(STATE), place.place)["heads"])


def _output(call: Call, checkpoint: Checkpoint) -> Output:
    """What would be written."""
    if call.to == "hf":
        return to_fixed(checkpoint, call.head, call.class_name)
    if call.to == "adapterzoo":
        return to_flexible(checkpoint, call.head)
    return to_adapterhub(checkpoint, call.drop) if call.to == "adapterhub" else as_it_is(checkpoint)


def _verified(
    call: Call, source: Told, checkpoint: Checkpoint, output: Output, folder: Path, step: Callable[[str], object]
) -> dict[str, Any]:
    """Make sure that what was written computes what the source does, and write down how it came to be."""
    head = call.head or fixed_head_name(output.config if call.to == "hf" else checkpoint.config)
    with parted(folder) as place:
        made = open_checkpoint(place.place)
        step("running the source")
        first, second = model_of(checkpoint), model_of(made)
        step("running what was written")
        tolerance = tolerance_for(second, rounded_to(checkpoint.tensors, call.dtype), call.tolerance)
        outcome = verified(first, second, tolerance, runs_of(first, second, head))
        outcome.demand(call.target)
        tensors = mapping(source, Told(model_facts(made), place.inside), head)
    options = {
        "to": call.to,
        "dtype": call.dtype,
        "head": call.head,
        "class": call.class_name,
        "fairseq_head": call.fairseq_head,
        "drop": list(call.drop),
        "shard_size": call.shard_size,
    }
    left = [*left_out(source.facts), *output.notes]
    return write_record(folder, {"source": call.source}, options, tensors, left, outcome.to_dict())
