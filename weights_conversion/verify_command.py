"""`verify`: do two models, or ours and a peer's, compute the same?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

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
from weights_conversion.options import ALLOW_PICKLE, BASE, JSON, QUIET, TOLERANCE, options
from weights_conversion.text import finite

PEERS = ("transformers", "adapters", "peft")


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@click.option(
    "--against", type=click.Choice(PEERS), help="In place of B: A as that library runs it, if it is installed."
)
@click.option("--text", "texts", type=click.File("r", encoding="utf-8"), help="A text a line; else ids are drawn.")
@click.option("--seed", type=int, default=0, show_default=True, help="For the ids and labels that are drawn.")
@options(BASE, TOLERANCE, JSON, ALLOW_PICKLE, QUIET)
def verify(
    first: str,
    second: str | None,
    against: str | None,
    texts: TextIO | None,
    seed: int,
    base: str | None,
    tolerance: float | None,
    as_json: bool,
    allow_pickle: bool,
    quiet: bool,
) -> int:
    """Run A and B on the same inputs, and tell how far each layer and each output are apart, and where they part.

    Where both have a head for the same, labels are drawn, too, and losses compared, over the rows without padding.
    A and B are models, or adapters for the model that --base names. Exits with 1 if an output differs by more than the
    tolerance (0.0001 unless told).
    """
    if (second is None) == (against is None):
        raise click.UsageError("give B, or --against a library")
    with ExitStack() as stack:
        places = [
            stack.enter_context(opened(source, allow_pickle)).place if source else None
            for source in (first, second, base)
        ]
        one, other, model_of = (None if place is None else os.fspath(place) for place in places)
        model = runnable(str(one), model_of)
        if texts is None:
            inputs = drawn_inputs(model, seed)
        else:
            lines = [line.strip() for line in texts if line.strip()]
            inputs = text_inputs(lines, model_of or str(one), model, seed)
        for_loss = labelled(model, inputs, seed)
        if other is None:
            theirs = _peer(str(against), model, str(one), model_of, inputs, with_decoder_input(model, for_loss))
        else:
            second_model = runnable(other, model_of)
            for_loss = for_loss if same_inputs(for_loss, labelled(second_model, inputs, seed)) else {}
            theirs = answers(second_model, inputs, for_loss)
        ours = answers(model, inputs, for_loss)
    head = active_head(model)
    by_token = head is not None and head.reads_cls is False
    verdict = compare(ours, theirs, inputs["attention_mask"], 1e-4 if tolerance is None else tolerance, by_token)
    if not verdict.gaps:
        raise FileError(f"{first} and {second or against} have no output in common: {', '.join(verdict.only)}")
    if as_json:
        print(json.dumps(_told(verdict), indent=2))
    elif not quiet:
        print(_text(verdict))
    return 0 if verdict.parted is None else 1


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
