"""`convert` of an adapter, a head, a fusion or a setup."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from adapterzoo.auto import AutoAdapterModel
from adapterzoo.conversion.adapter_files import convert_adapter
from adapterzoo.conversion.folder import passing_folder, whole_folder
from adapterzoo.conversion.hub_parts import convert_part
from adapterzoo.conversion.inspection import inspect_source
from adapterzoo.conversion.record import Told, left_out, mapping, write_record
from adapterzoo.conversion.sources import Opened, opened
from adapterzoo.conversion.verified import Run, rounded_to, tolerance_for, verified
from adapterzoo.formats import read
from adapterzoo.store import Source
from weights_conversion.convert_call import Call
from weights_conversion.telling import Report, sizes


def convert(call: Call, found: Opened, kind: str) -> int:
    """Convert it, and tell of it. A dry run does so elsewhere, and leaves nothing.

    Args:
        call: what was asked for.
        found: the source, as it was opened.
        kind: what it is.
    """
    content, facts = read(found.place), _facts(call, found.place, call.model_type)
    to = call.to or content.format
    dtype = None if call.dtype is None else getattr(torch, call.dtype)
    record = None
    with ExitStack() as stack:
        base = None if call.base is None else stack.enter_context(opened(call.base, call.allow_pickle)).place
        written = passing_folder() if call.dry_run else whole_folder(Path(call.target))
        folder = stack.enter_context(written)
        if kind != "adapter":
            convert_part(found.place, folder, call.name, base, call.model_type, dtype)
        else:
            head = not call.without_head
            name = convert_adapter(found.place, folder, to, call.name, base, call.model_type, dtype, head)
            if call.verify and base is not None:
                record = _verified(call, to, found, base, folder, name)
        files = sizes(folder)
    told = None if facts is None else found.named(facts)
    Report(told, call.target, to, None, call.dtype, not call.dry_run, files, (), record).tell(call.as_json, call.quiet)
    return 0


def _facts(call: Call, place: Source, model_type: str | None) -> dict[str, Any] | None:
    """What it is; None where only its model can tell."""
    try:
        return inspect_source(place, False, model_type)
    except ValueError:
        if call.base is None:
            raise
        return None


def _verified(call: Call, to: str, found: Opened, base: Source, folder: Path, name: str) -> dict[str, Any]:
    """Make sure that the adapter does in its model what the source does, and write down how it came to be."""
    first, second = (AutoAdapterModel.from_pretrained(base) for _ in range(2))
    for model, place in ((first, found.place), (second, folder)):
        model.load_adapter(place, load_as=name, with_head=not call.without_head, allow_pickle=False)
    tolerance = tolerance_for(second, rounded_to(read(found.place).tensors, call.dtype), call.tolerance)
    outcome = verified(first, second, tolerance, [Run("", (name, name), (None, None))])
    outcome.demand(call.target)
    kind = second.architecture.model_type
    facts, written = (_facts(call, one, kind) for one in (found.place, folder))
    tensors = {} if facts is None or written is None else mapping(Told(found.named(facts), False), Told(written, False))
    options = {"to": to, "dtype": call.dtype, "name": call.name, "without_head": call.without_head}
    sources = {"source": call.source, "base": str(call.base)}
    return write_record(folder, sources, options, tensors, left_out(facts or {}), outcome.to_dict())
