"""`verify`: do two models, or ours and a peer's, compute the same?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import click
from safetensors.torch import load_file
from torch import Tensor

from adapterzoo.conversion.drawing import (
    active_head,
    drawn_inputs,
    labelled,
    same_inputs,
    text_inputs,
    with_decoder_input,
)
from adapterzoo.conversion.sources import opened
from adapterzoo.conversion.verification import Verdict, answers, class_for, compare, runnable
from adapterzoo.peft_files import folder_of
from adapterzoo.store import FileError, write_json, write_tensors
from weights_conversion.options import (
    ALLOW_PICKLE,
    BASE,
    CLASS,
    FAIRSEQ_HEAD,
    JSON,
    MODEL_TYPE,
    QUIET,
    TOLERANCE,
    options,
)
from weights_conversion.text import finite

PEERS = ("transformers", "adapters", "peft")


class Call(NamedTuple):
    """What was asked for; see the options."""

    first: str
    second: str | None
    against: str | None
    texts: TextIO | None
    seed: int
    base: str | None
    tolerance: float | None
    as_json: bool
    allow_pickle: bool
    model_type: str | None
    class_name: str | None
    fairseq_head: str | None
    quiet: bool


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@click.option(
    "--against", type=click.Choice(PEERS), help="In place of B: A as that library runs it, if it is installed."
)
@click.option("--text", "texts", type=click.File("r", encoding="utf-8"), help="A text a line; else ids are drawn.")
@click.option("--seed", type=int, default=0, show_default=True, help="For the ids and labels that are drawn.")
@options(BASE, TOLERANCE, JSON, ALLOW_PICKLE, MODEL_TYPE, CLASS, FAIRSEQ_HEAD, QUIET)
def verify(**given: Any) -> int:
    """Run A and B on the same inputs, and tell how far each layer and each output are apart, and where they part.

    Where both have a head for the same, labels are drawn, too, and losses compared, over the rows without padding.
    A and B are models, or adapters for the model that --base names. Exits with 1 if an output differs by more than the
    tolerance (0.0001 unless told). --fairseq-head is A's.
    """
    call = Call(**given)
    if (call.second is None) == (call.against is None):
        raise click.UsageError("give B, or --against a library")
    with ExitStack() as stack:
        one, other, base = (
            None if source is None else os.fspath(stack.enter_context(opened(source, call.allow_pickle, head)).place)
            for source, head in ((call.first, call.fairseq_head), (call.second, None), (call.base, None))
        )
        verdict = _verdict(call, str(one), other, base)
    if not verdict.gaps:
        second = call.second or call.against
        raise FileError(f"{call.first} and {second} have no output in common: {', '.join(verdict.only)}")
    if call.as_json:
        print(json.dumps(_told(verdict), indent=2))
    elif not call.quiet:
        print(_text(verdict))
    return 0 if verdict.parted is None else 1


def _verdict(call: Call, one: str, other: str | None, base: str | None) -> Verdict:
    """What comes of comparing what lies at `one` with what lies at `other`, or with what the library makes of it."""
    run = partial(runnable, base=base, model_type=call.model_type, class_name=call.class_name)
    model = run(one)
    if call.texts is None:
        inputs = drawn_inputs(model, call.seed)
    else:
        lines = [line.strip() for line in call.texts if line.strip()]
        inputs = text_inputs(lines, base or one, model, call.seed)
    for_loss = labelled(model, inputs, call.seed)
    if other is None:
        theirs = _peer(str(call.against), model, one, base, inputs, with_decoder_input(model, for_loss))
    else:
        second = run(other)
        for_loss = for_loss if same_inputs(for_loss, labelled(second, inputs, call.seed)) else {}
        theirs = answers(second, inputs, for_loss)
    ours, head = answers(model, inputs, for_loss), active_head(model)
    tolerance = 1e-4 if call.tolerance is None else call.tolerance
    return compare(ours, theirs, inputs["attention_mask"], tolerance, head is not None and head.reads_cls is False)


def _peer(
    library: str,
    model: Any,
    source: str,
    base: str | None,
    inputs: dict[str, Tensor],
    for_loss: dict[str, Tensor],
) -> dict[str, Tensor]:
    """What a library's model answers, in a process of its own."""
    if not list(importlib.metadata.distributions(name=library)):
        raise FileError(f"{library} is not installed: pip install {library}")
    if library != "transformers" and base is None:
        raise click.UsageError(f"--against {library} needs --base, the model that the adapter is for")
    # Only PEFT lays its adapters upon a class of HF's; a checkpoint names its own, and AdapterHub's have their heads.
    class_name, fields = class_for(model) if library == "peft" else (model.architecture.class_name(model.static), {})
    if library == "transformers" and model.static is None:  # flexible heads are not for it
        for_loss = {}
    asked = {"source": os.fspath(folder_of(source)), "base": base or "", "class_name": class_name, "fields": fields}
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(Path(folder, "inputs.safetensors"), inputs)
        write_tensors(Path(folder, "labelled.safetensors"), for_loss)
        write_json(Path(folder, "asked.json"), asked)
        words = [sys.executable, "-m", f"weights_conversion.peers.{library}", folder]
        quiet = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
        done = subprocess.run(words, capture_output=True, text=True, env=quiet, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise FileError(f"{library} could not run {source}: {last}")
        return load_file(Path(folder, "outputs.safetensors"))


def _told(verdict: Verdict) -> dict[str, object]:
    return {
        "same": verdict.parted is None,
        "parted_at": verdict.parted,
        "tolerance": verdict.tolerance,
        "outputs": [finite(gap._asdict()) for gap in verdict.gaps],
        "only_in_one": verdict.only,
    }


def _text(verdict: Verdict) -> str:
    width = max(len(gap.name) for gap in verdict.gaps)
    lines = [f"{'output'.ljust(width)}  largest difference  of numbers up to"]
    for gap in verdict.gaps:
        mark = "" if gap.largest <= verdict.tolerance else "  differs"
        lines.append(f"{gap.name.ljust(width)}  {gap.largest:>18.3g}  {gap.scale:>16.3g}{mark}")
    if verdict.only:
        lines.append(f"only one of them has: {', '.join(verdict.only)}")
    end = "the same" if verdict.parted is None else f"they part at {verdict.parted}"
    lines.append(f"{end} (tolerance {verdict.tolerance:g})")
    return "\n".join(lines)
