"""`convert`: a model as safetensors, an adapter in another format."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch

from adapterzoo.auto import AutoAdapterModel
from adapterzoo.conversion.adapter_files import convert_adapter
from adapterzoo.conversion.checkpoint import Checkpoint, open_checkpoint
from adapterzoo.conversion.convert import convert as converted
from adapterzoo.conversion.convert import copied, copy_beside, steps
from adapterzoo.conversion.folder import check_target, whole_folder
from adapterzoo.conversion.inspection import inspect_source, model_facts
from adapterzoo.conversion.sources import Opened, opened
from adapterzoo.formats import read
from adapterzoo.peft_files import folder_of
from adapterzoo.progress import Steps
from adapterzoo.store import find
from weights_conversion import text
from weights_conversion.options import (
    ALLOW_PICKLE,
    BASE,
    CLASS,
    DRY_RUN,
    DTYPES,
    FORCE,
    JSON,
    MODEL_TYPE,
    QUIET,
    WITHOUT_HEAD,
    options,
)

MODELS, ADAPTERS = ("hf", "adapterzoo"), ("adapterhub", "peft")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Call(NamedTuple):
    """What was asked for; see the options."""

    source: str
    target: str
    to: str | None
    dtype: str | None
    shard_size: int | None
    name: str | None
    drop: tuple[str, ...]
    base: str | None
    force: bool
    dry_run: bool
    as_json: bool
    allow_pickle: bool
    model_type: str | None
    class_name: str | None
    without_head: bool
    quiet: bool


def bytes_of(_: Any, __: Any, size: str | None) -> int | None:
    """A number of bytes, as people write it: 500MB, 2GiB, 1000."""
    if size is None:
        return None
    match = re.fullmatch(r"(\d+)\s*([a-zA-Z]*)", size)
    if match is None or match[2].upper() not in _UNITS or not int(match[1]):
        raise click.BadParameter(f"{size!r} is no size such as 500MB or 2GB")
    return int(match[1]) * _UNITS[match[2].upper()]


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--to", type=click.Choice([*MODELS, *ADAPTERS]), help="The format. A model becomes hf, an adapter stays.")
@click.option("--dtype", type=click.Choice(DTYPES), help="Dtype of the weights; without it each keeps its own.")
@click.option("--shard-size", metavar="SIZE", callback=bytes_of, help="500MB, 2GB: spread a model over such files.")
@click.option("--name", help="A new name for an adapter.")
@click.option(
    "--drop", metavar="PATTERN", multiple=True, help="Leave out tensors that have no place: '*' for all such."
)
@options(BASE, FORCE, DRY_RUN, JSON, ALLOW_PICKLE, MODEL_TYPE, CLASS, WITHOUT_HEAD, QUIET)
def convert(**given: Any) -> int:
    """Write SRC to DST in another format, or anew in its own: as safetensors, under the names of today.

    DST is whole afterwards, or as it was.

    \b
    convert old-bert new-bert --allow-pickle    PyTorch's files to safetensors
    convert bert flexible --to adapterzoo       a task's head to a flexible one
    convert lora peft-lora --to peft            an adapter for another library
    """
    call = Call(**given)
    check_target(Path(call.target), call.source, call.force)
    with opened(call.source, call.allow_pickle) as found:
        return _convert(call, found._replace(place=folder_of(found.place)))


def _convert(call: Call, found: Opened) -> int:
    is_model = find(found.place, "config.json") is not None
    what, formats = ("model", MODELS) if is_model else ("adapter", ADAPTERS)
    if call.to is not None and call.to not in formats:
        raise ValueError(f"{call.source} is a {what}, and what a {what} can become is {' or '.join(formats)}")
    for option in ("shard_size", "class_name", "drop") if not is_model else ("name", "base", "without_head"):
        if getattr(call, option):
            raise click.UsageError(f"--{option.replace('_name', '').replace('_', '-')} is not for {what}s")
    return _model(call, found) if is_model else _adapter(call, found)


def _model(call: Call, found: Opened) -> int:
    checkpoint = open_checkpoint(found.place, False, call.model_type, call.class_name)
    checkpoint.check(call.drop)
    facts = found.named(model_facts(checkpoint))
    if call.dry_run:
        _tell(call, facts, f"would write {call.target}; copied: {', '.join(copied(checkpoint)) or 'nothing'}")
        return 0
    with whole_folder(Path(call.target)) as folder, Steps(steps(checkpoint), quiet=call.quiet) as step:
        if call.to == "adapterzoo":
            _flexible(checkpoint, folder, call.dtype, step)
        else:
            converted(checkpoint, folder, call.dtype, step, call.shard_size)
        files = text.files(folder)
    _tell(call, facts, f"wrote {call.target}{f' as {call.dtype}' if call.dtype else ''}:", files)
    return 0


def _flexible(checkpoint: Checkpoint, folder: Path, dtype: str | None, step: Steps) -> None:
    """The model with flexible heads, as `save_pretrained` writes it."""
    step("reading the model")
    model = AutoAdapterModel.from_pretrained(
        checkpoint.source, dtype=dtype or "auto", convert_head=True, config=checkpoint.config
    )
    step("writing")
    model.save_pretrained(folder)
    copy_beside(checkpoint.source, folder)


def _adapter(call: Call, found: Opened) -> int:
    facts, to = _facts(call, found), call.to or read(found.place).format
    dtype = None if call.dtype is None else getattr(torch, call.dtype)
    if call.dry_run:
        _tell(call, facts, f"would write {call.target} as {to}")
        return 0
    with whole_folder(Path(call.target)) as folder:
        convert_adapter(found.place, folder, to, call.name, call.base, call.model_type, dtype, not call.without_head)
        files = text.files(folder)
    _tell(call, facts, f"wrote {call.target} as {to}:", files)
    return 0


def _facts(call: Call, found: Opened) -> dict[str, Any] | None:
    """What an adapter's files hold; None where only the model that it is for can tell."""
    try:
        return found.named(inspect_source(found.place, False, call.model_type))
    except ValueError:
        if call.base is None:
            raise
        return None


def _tell(call: Call, facts: dict[str, Any] | None, *lines: str) -> None:
    if call.as_json:
        print(json.dumps({"source": facts, "target": call.target, "written": not call.dry_run}, indent=2))
    elif not call.quiet:
        print("\n".join([*([] if facts is None else [text.summary(facts)]), *lines]))
