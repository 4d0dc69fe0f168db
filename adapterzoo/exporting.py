"""A model with what is active in it as one graph: PyTorch's exported program, and ONNX."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo.context import current_scope
from adapterzoo.core.compose import BatchSplit, MultiTask, Parallel, Split, blocks_in
from adapterzoo.core.registry import listing
from adapterzoo.models import Model
from adapterzoo.quantizing import check_float
from adapterzoo.writing import write_whole

INPUTS = (
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "position_ids",
    "decoder_input_ids",
    "decoder_attention_mask",
    "encoder_hidden_states",
    "encoder_attention_mask",
)
"""The inputs that a graph may have."""

NEEDED = ("onnx", "onnxscript")
"""What PyTorch writes ONNX with."""


class Graph(nn.Module):
    """A model as exporters take it: named tensors in, named tensors out."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The output's fields by name."""
        output = self.model(
            input_ids,
            attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            return_dict=True,
            use_cache=False,
        )
        return dict(output.items())


def export(model: Model, batch: Mapping[str, Tensor]) -> torch.export.ExportedProgram:
    """The model, with the adapters and the head that are active now, as a graph for batches of any shape.

    Args:
        model: the model. It is exported as in evaluation, whatever its mode, and left as it is.
        batch: inputs as a tokenizer gives them, two rows and two tokens or more: which inputs there are is what the
            graph will take. Rows and lengths may differ later, unless an adapter or head counts them.

    Returns:
        The program: `program.module()(**batch)` gives the output's fields by name; `torch.export.save` writes it.

    Raises:
        TypeError: an input that no graph has.
        ValueError: the batch is too small, what is active treats rows or positions differently by their number, or
            several heads answer.
    """
    given = _checked(model, batch)
    with _as_exported(model), torch.no_grad():
        _outputs(model, given)
        return torch.export.export(Graph(model), (), given, dynamic_shapes=_shapes(model, given), strict=False)


def export_onnx(model: Model, path: str | os.PathLike[str], batch: Mapping[str, Tensor]) -> None:
    """Write the model, with the adapters and the head that are active now, as an ONNX file.

    Its inputs and outputs are called as ours: `input_ids`, `attention_mask`, …; `logits`, `last_hidden_state`, …

    Args:
        model: the model, as for `export`.
        path: the file.
        batch: inputs, as for `export`.

    Raises:
        ImportError: there is no `onnx` or `onnxscript`: `pip install 'adapterzoo[export]'`.
        TypeError, ValueError: as for `export`; or the network's weights are int8.
    """
    lost = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lost:
        raise ImportError(f"PyTorch writes ONNX with {listing(lost)}: pip install 'adapterzoo[export]'")
    check_float(model, "PyTorch does not write to ONNX; export the model before quantize_base()")
    given = _checked(model, batch)
    with _as_exported(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own exporter, about PyTorch's own code
        names = _outputs(model, given)
        program = torch.onnx.export(
            Graph(model),
            (),
            kwargs=given,
            dynamic_shapes=_shapes(model, given),
            input_names=list(given),
            output_names=names,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    write_whole(Path(path), lambda where: program.save(where))


def _checked(model: Model, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch's inputs in the order of INPUTS."""
    unknown = [name for name in batch if name not in INPUTS]
    if unknown:
        raise TypeError(f"a graph takes no {listing(unknown)}; it may have {listing(INPUTS)}")
    given = {name: batch[name] for name in INPUTS if batch.get(name) is not None}
    small = [name for name, tensor in given.items() if min(tensor.shape[:2]) < 2]
    if small or not given:
        raise ValueError(f"a graph is made from a batch of two rows and two tokens or more; {listing(small)}: smaller")
    scope = current_scope()
    setup = model.adapters.active if scope is None else scope.adapters
    by_number = (BatchSplit, MultiTask, Parallel, Split)
    found = [block for block in (() if setup is None else blocks_in(setup)) if isinstance(block, by_number)]
    if found:
        raise ValueError(f"{found[0]!r} goes by the number of rows or positions, which a graph for any batch has not")
    return given


def _outputs(model: Model, given: dict[str, Tensor]) -> list[str]:
    """The names of the output's fields."""
    output = Graph(model)(**given)
    nested = [name for name, value in output.items() if not isinstance(value, Tensor)]
    if nested:
        raise ValueError(f"a graph gives tensors, but {listing(nested)} of the model's output are several: pick a head")
    return list(output)


@contextmanager
def _as_exported(model: Model) -> Iterator[None]:
    """The model in evaluation mode and on the padded grid: which tokens are padding is not known to a graph."""
    modes, packed = {module: module.training for module in model.modules()}, model.padding_free
    model.eval()
    model.padding_free = False
    try:
        yield
    finally:
        model.padding_free = packed
        for module, training in modes.items():
            module.training = training


def _shapes(model: Model, given: Mapping[str, Tensor]) -> dict[str, dict[int, Any]]:
    """Which dimensions may differ: rows, and each stack's length up to what it has positions for."""
    rows, config = torch.export.Dim("rows"), model.base.config
    least = 3 if config.last.causal else 1  # one or two tokens of a decoder take other ways through it
    room = {"": config.first.room, "decoder_": config.last.room, "encoder_": None}
    lengths = {part: torch.export.Dim(f"{part}length", min=least, max=most) for part, most in room.items()}
    return {name: {0: rows, 1: lengths[_part(name)]} for name in given}


def _part(name: str) -> str:
    return next((part for part in ("decoder_", "encoder_") if name.startswith(part)), "")
