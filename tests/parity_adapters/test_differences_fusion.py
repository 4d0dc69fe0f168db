"""Where AdapterFusion differs from the peer's on purpose: the law holds here, and there it does not.

docs/differences.md lists these; `pytest -rP` shows by how much the peer is off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

import adapterzoo
from adapterzoo.archs import Architecture
from tests.helpers.adapting import same_bits, tensors_of
from tests.helpers.fusion_cases import FusionCase, fuse, fusion_parameters, set_temperature
from tests.helpers.method_cases import each_distinct
from tests.helpers.peer_adapters import adapters, hidden, inputs_of, off, real_positions, same
from tests.parity_adapters.conftest import Pair

Pairs = Callable[[Architecture], Pair]

COOLING = FusionCase(("seq_bn", "seq_bn"), changes={"temperature": True})


def temperatures(theirs: torch.nn.Module) -> set[float]:
    """Return the temperatures that the peer's fusions have."""
    return {
        module.T for key, module in theirs.named_modules() if "adapter_fusion_layer." in key and hasattr(module, "T")
    }


@each_distinct
def test_evaluation_leaves_the_temperature_as_it_is(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    theirs, ours = pairs(architecture)
    name = fuse(theirs, ours, COOLING, tmp_path)
    for key, module in theirs.named_modules():
        if key.endswith(f"adapter_fusion_layer.{name}"):
            module.T = 6.0
    ours.fusions[name].shared["temperature"].steps.fill_(880)  # 50 - 44
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    law = hidden(theirs, inputs)
    same(hidden(ours, inputs), law, where)
    for _ in range(99):
        hidden(theirs, inputs)
    same(hidden(ours, inputs), law, where)
    off(hidden(theirs, inputs), law, where)
    assert max(temperatures(theirs)) < 2


@each_distinct
def test_a_file_keeps_the_temperature(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    theirs, ours = pairs(architecture)
    name = fuse(theirs, ours, COOLING, tmp_path)
    set_temperature(theirs, ours, name)
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    law = hidden(theirs, inputs)
    ours.save_adapter_fusion(tmp_path / "ours", name)
    ours.load_adapter_fusion(tmp_path / "ours", load_as="later", set_active=True)
    same(hidden(ours, inputs), law, where)
    theirs.save_adapter_fusion(str(tmp_path / "theirs"), name)
    theirs.set_active_adapters(None)
    theirs.delete_adapter_fusion(name)
    theirs.load_adapter_fusion(str(tmp_path / "theirs"))
    theirs.set_active_adapters(adapters().Fuse(*COOLING.names))
    theirs.eval()
    assert temperatures(theirs) == {50.0}
    off(hidden(theirs, inputs), law, where)


@each_distinct
def test_children_read_what_they_read_alone(pairs: Pairs, architecture: Architecture, tmp_path: Path) -> None:
    """One reads before LayerNorm, the other after it. Their query and residual are the same, so order means nothing."""
    theirs, ours = pairs(architecture)
    fuse(theirs, ours, FusionCase(("bn", "bn-after-ln"), "Static", {"query_before_ln": True}), tmp_path)
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    found = []
    for of, model in ((adapters(), theirs), (adapterzoo, ours)):
        for order in (("n0", "n1"), ("n1", "n0")):
            model.set_active_adapters(of.Fuse(*order, name="n0,n1"))
            found.append(hidden(model, inputs))
    same(found[3], found[2], where)
    off(found[1], found[0], where)


@each_distinct
def test_a_static_fusion_of_parallel_twins_is_the_adapter(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    theirs, ours = pairs(architecture)
    fuse(theirs, ours, FusionCase(("par_bn", "par_bn"), "Static"), tmp_path)
    ours.adapters["n1"].load_state_dict(ours.adapters["n0"].state_dict())
    first = dict(theirs.named_parameters())
    with torch.no_grad():
        for key, parameter in first.items():
            if ".adapters.n1." in key:
                parameter.copy_(first[key.replace(".n1.", ".n0.")])
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    fused = hidden(theirs, inputs)
    theirs.set_active_adapters("n0")
    law = hidden(theirs, inputs)
    same(hidden(ours, inputs), law, where)
    off(fused, law, where)


@each_distinct
def test_a_stack_in_a_fusion_reads_through_layer_norm_once(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    theirs, ours = pairs(architecture)
    case = FusionCase(("seq_bn", "seq_bn"), "Static")
    fuse(theirs, ours, case, tmp_path)
    inputs = inputs_of(architecture)
    where = real_positions(inputs)
    law = hidden(theirs, inputs)
    ours.set_active_adapters(adapterzoo.Fuse(adapterzoo.Stack("n0"), adapterzoo.Stack("n1")))
    same(hidden(ours, inputs), law, where)
    theirs.set_active_adapters(adapters().Fuse(adapters().Stack("n0"), adapters().Stack("n1")))
    off(hidden(theirs, inputs), law, where)


@each_distinct
def test_a_stack_in_a_fusion_is_the_peers_where_nothing_is_read_after_layer_norm(
    pairs: Pairs, architecture: Architecture, tmp_path: Path
) -> None:
    theirs, ours = pairs(architecture)
    fuse(theirs, ours, FusionCase(("double_seq_bn",) * 3), tmp_path)
    inputs = inputs_of(architecture)
    for of, model in ((adapters(), theirs), (adapterzoo, ours)):
        model.set_active_adapters(of.Fuse("n0", of.Stack("n1", "n2"), name="n0,n1,n2"))
    first = [hidden(model, inputs) for model in (theirs, ours)]
    same(first[1], first[0], real_positions(inputs))
    for of, model in ((adapters(), theirs), (adapterzoo, ours)):
        model.set_active_adapters(of.Fuse(of.Stack("n1", "n2"), "n0", name="n0,n1,n2"))
    second = [hidden(model, inputs) for model in (theirs, ours)]
    same(second[1], second[0], real_positions(inputs))


def test_a_fusion_without_dropout_has_none(pairs: Pairs, tmp_path: Path) -> None:
    architecture = adapterzoo.BertAdapterModel.architecture
    theirs, ours = pairs(architecture)
    theirs.config.attention_probs_dropout_prob = 0.4
    try:
        fuse(theirs, ours, FusionCase(("seq_bn", "seq_bn"), changes={"dropout_prob": 0.0}), tmp_path)
    finally:
        theirs.config.attention_probs_dropout_prob = 0.0
    assert {unit.dropout for unit in ours.fusions["n0,n1"].units.values()} == {0.0}
    peers = [module.dropout.p for key, module in theirs.named_modules() if key.endswith("adapter_fusion_layer.n0,n1")]
    assert set(peers) == {0.4}
    assert fusion_parameters(theirs, "n0,n1")


def test_a_loaded_fusion_tells_its_name(pairs: Pairs, tmp_path: Path) -> None:
    architecture = adapterzoo.BertAdapterModel.architecture
    theirs, ours = pairs(architecture)
    name = fuse(theirs, ours, FusionCase(("seq_bn", "seq_bn")), tmp_path)
    assert ours.load_adapter_fusion(tmp_path / "fusion") == name
    assert theirs.load_adapter_fusion(str(tmp_path / "fusion")) is None


def test_a_fusion_whose_name_another_begins_with_is_saved_alone(pairs: Pairs, tmp_path: Path) -> None:
    architecture = adapterzoo.BertAdapterModel.architecture
    theirs, ours = pairs(architecture)
    fuse(theirs, ours, FusionCase(("seq_bn",)), tmp_path)
    ours.add_adapter_fusion(["n0"], name="n0,n1")
    theirs.add_adapter_fusion(["n0"], name="n0,n1")
    for model, folder in ((theirs, "theirs"), (ours, "ours")):
        model.save_adapter_fusion(str(tmp_path / folder), "n0")
    theirs.eval()
    kept = torch.load(tmp_path / "theirs" / "pytorch_model_adapter_fusion.bin", weights_only=True)
    assert any("adapter_fusion_layer.n0,n1." in key for key in kept)
    assert ours.load_adapter_fusion(tmp_path / "theirs", load_as="again") == "again"
    assert ours.load_adapter_fusion(tmp_path / "ours", load_as="own") == "own"
    assert same_bits(tensors_of(ours.fusions["again"]), tensors_of(ours.fusions["own"]))
