"""`convert`: a model as safetensors, or with another kind of head; an adapter in another format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from adapterzoo.conversion.folder import check_target
from adapterzoo.conversion.parted import parted
from adapterzoo.conversion.sources import opened
from adapterzoo.formats import read
from adapterzoo.peft_files import folder_of
from adapterzoo.store import find
from weights_conversion import converting_models, converting_parts
from weights_conversion.convert_call import FORMATS, Call
from weights_conversion.options import (
    ALLOW_PICKLE,
    BASE,
    CLASS,
    DRY_RUN,
    DTYPES,
    FAIRSEQ_HEAD,
    FORCE,
    JSON,
    MODEL_TYPE,
    QUIET,
    TOLERANCE,
    VERIFY,
    WITHOUT_HEAD,
    options,
)

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


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
@click.option(
    "--to",
    type=click.Choice(list(dict.fromkeys(name for names in FORMATS.values() for name in names))),
    help="The format; its own without.",
)
@click.option("--dtype", type=click.Choice(DTYPES), help="Dtype of the weights; without it each keeps its own.")
@click.option("--shard-size", metavar="SIZE", callback=bytes_of, help="500MB, 2GB: spread a model over such files.")
@click.option("--name", help="A new name for an adapter or a head.")
@click.option("--head", metavar="NAME", help="The flexible head that --to hf makes fixed; its name, --to adapterzoo.")
@click.option(
    "--drop", metavar="PATTERN", multiple=True, help="Leave out what has no place: tensors, folders; '*' for all such."
)
@options(BASE, VERIFY, TOLERANCE, FORCE, DRY_RUN, JSON, ALLOW_PICKLE, MODEL_TYPE, CLASS, FAIRSEQ_HEAD)
@options(WITHOUT_HEAD, QUIET)
def convert(**given: Any) -> int:
    """Write SRC to DST in another format, or anew in its own: as safetensors, under the names of today.

    DST is whole afterwards, or as it was.

    \b
    convert old-bert new-bert --allow-pickle    PyTorch's files to safetensors
    convert bert flexible --to adapterzoo       a task's head to a flexible one
    convert flexible bert --to hf --head qa     and back
    convert flexible one --to adapterhub        a model and its adapters for AdapterHub's library
    convert lora peft-lora --to peft            an adapter for another library
    """
    call = Call(**given)
    check_target(Path(call.target), call.source, call.force)
    with opened(call.source, call.allow_pickle, call.fairseq_head) as found:
        place = folder_of(found.place)
        kind = "model" if find(place, "config.json") is not None else read(place).kind
        call.check(kind)
        if kind != "model":
            return converting_parts.convert(call, found._replace(place=place), kind)
        with parted(place) as apart:
            return converting_models.convert(call, found, apart)
