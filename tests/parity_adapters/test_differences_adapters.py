"""Where our adapters differ from the peer's on purpose: the law holds here, and there it does not.

docs/differences.md lists these; `pytest -rP` shows by how much the peer is off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import adapterzoo
from adapterzoo.archs import Architecture
from tests.helpers.method_cases import CASES, PREFIX, each_distinct
from tests.helpers.peer_adapters import (
    adapters,
    add_random,
    hand_over,
    hidden,
    inputs_of,
    models,
    off,
    real_positions,
    same,
)
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]


def under(model: Any, setup: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the model's last hidden states under a setup."""
    model.set_active_adapters(setup)
    return hidden(model, inputs)


def two(pair: Pair, folder: Path, *configs: Any) -> None:
    """Give both models the same adapters "a" and "b"."""
    for name, config in zip("ab", configs, strict=True):
        add_random(pair.theirs, name, config)
        hand_over(pair.theirs, pair.ours, name, folder / name)


def rows_alone(model: Any, inputs: dict[str, Tensor], first: int) -> Tensor:
    """Return what the model gives for the first rows under "a" and for the others under "b"."""
    return torch.cat([under(model, "a", inputs)[:first], under(model, "b", inputs)[first:]])


@each_distinct
def test_a_stack_of_loras_adds_their_updates_as_merging_would(
    base_dir: Callable[[Architecture], Path], architecture: Architecture, tmp_path: Path
) -> None:
    pair = Pair(*models(architecture, base_dir(architecture)))
    two(pair, tmp_path, "lora[alpha=3, attn_matrices=['q', 'k']]", "lora[r=2, alpha=1]")
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    found = under(pair.ours, adapterzoo.Stack("a", "b"), inputs)
    wanted = under(pair.theirs, adapters().Stack("a", "b"), inputs)
    pair.theirs.set_active_adapters(None)
    for module in pair.theirs.modules():
        for lora in getattr(module, "loras", {}).values():
            module.weight.data += lora.scaling * lora.lora_B.data @ lora.lora_A.data
    law = hidden(pair.theirs, inputs)
    same(found, law, where)
    off(wanted, law, where)


@each_distinct
def test_a_stack_of_parallel_adapters_is_one_as_wide_as_all(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    theirs, ours = pair = pairs(architecture)
    two(pair, tmp_path, CASES["bn-parallel"].theirs, CASES["bn-parallel"].theirs)
    width = ours.base.config.width
    narrow = int(width // CASES["bn-parallel"].ours["reduction_factor"])
    ours.add_adapter("wide", CASES["bn-parallel"].ours.replace(reduction_factor=width / (2 * narrow)))
    ours.adapters["wide"].load_state_dict(_joined(*(ours.adapters[name].state_dict() for name in "ab")))
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    law = under(ours, "wide", inputs)
    same(under(ours, adapterzoo.Stack("a", "b"), inputs), law, where)
    wanted = under(theirs, adapters().Stack("a", "b"), inputs)
    off(wanted, law, where)
    same(wanted, under(theirs, "b", inputs), where)  # it drops the first


def _joined(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the adapter that has the bottlenecks of both."""
    return {
        name: first[name] + second[name]
        if name.endswith("up.bias")
        else torch.cat([first[name], second[name]], dim=int(name.endswith("up.weight")))
        for name in first
    }


@each_distinct
@pytest.mark.parametrize("case", ["bn-gate", "lora-gate", "prefix-gate"])
def test_a_gate_does_not_look_at_padding(pairs: Pairs, architecture: Architecture, case: str, tmp_path: Path) -> None:
    pair = pairs(architecture)
    add_random(pair.theirs, "a", CASES[case].theirs)
    hand_over(pair.theirs, pair.ours, "a", tmp_path)
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    assert where is not None
    row = int(where.sum(1).argmin())
    alone = {name: value[row : row + 1, : int(_lengths(inputs, name)[row])] for name, value in inputs.items()}
    for model in pair:
        model.set_active_adapters("a")
    theirs, ours = (hidden(model, inputs)[row : row + 1, where[row]] for model in pair)
    law = hidden(pair.theirs, alone)
    same(ours, law)
    off(theirs, law)


def _lengths(inputs: dict[str, Tensor], name: str) -> Tensor:
    side = "decoder_" if name.startswith("decoder_") else ""
    return inputs[f"{side}attention_mask"].sum(1)


MASKED = {"deberta", "deberta-v2", "distilbert"}
"""Where the peer masks a prefix's padding: where a mask comes to the attention as 1 at tokens and 0 at padding."""

BATCH_SPLITS = {
    "prefixes of different lengths": (PREFIX, {**PREFIX, "prefix_length": 5}),
    "bottlenecks of different kinds": ("seq_bn", "double_seq_bn[mh_adapter=False]"),
}


@each_distinct
@pytest.mark.parametrize("configs", BATCH_SPLITS.values(), ids=list(BATCH_SPLITS))
def test_a_batch_split_gives_each_row_what_it_would_have_alone(
    pairs: Pairs, architecture: Architecture, configs: tuple[Any, Any], tmp_path: Path
) -> None:
    pair = pairs(architecture)
    made = (adapters().PrefixTuningConfig(**c) if isinstance(c, dict) else c for c in configs)
    two(pair, tmp_path, *made)
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    law = rows_alone(pair.theirs, inputs, 2)
    same(under(pair.ours, adapterzoo.BatchSplit("a", "b", batch_sizes=2), inputs), law, where)
    wanted = under(pair.theirs, adapters().BatchSplit("a", "b", batch_sizes=2), inputs)
    right = isinstance(configs[0], dict) and architecture.model_type in MASKED
    (same if right else off)(wanted, law, where)


@each_distinct
@pytest.mark.parametrize(
    "configs", [("lora", "lora[attn_matrices=['k']]"), ("lora", "seq_bn"), ("seq_bn[leave_out=[0]]", "seq_bn")]
)
def test_a_batch_split_takes_adapters_that_are_in_different_places(
    pairs: Pairs, architecture: Architecture, configs: tuple[str, str], tmp_path: Path
) -> None:
    pair = pairs(architecture)
    two(pair, tmp_path, *configs)
    inputs = inputs_of(architecture)
    law = rows_alone(pair.theirs, inputs, 2)
    found = under(pair.ours, adapterzoo.BatchSplit("a", "b", batch_sizes=2), inputs)
    same(found, law, real_positions(inputs))
    with pytest.raises((KeyError, TypeError, AttributeError)):
        under(pair.theirs, adapters().BatchSplit("a", "b", batch_sizes=2), inputs)
