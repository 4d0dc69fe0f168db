"""Averages of adapters, and their modules by layer and place, are the peer's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers.comparing import assert_close
from tests.helpers.method_cases import MethodCase
from tests.helpers.peer_adapters import add_random, hand_over, inputs_of, models, off, peer_model, peer_parameters
from tests.helpers.tiny import randomise

KINDS = ["bert", "bart"]
CASES = {
    "seq_bn": MethodCase("seq_bn"),
    "double_seq_bn": MethodCase("double_seq_bn"),
    "compacter": MethodCase("compacter", {"reduction_factor": 8}),
    "prefix_tuning": MethodCase("prefix_tuning", {"prefix_length": 3, "bottleneck_size": 7}),
    "lora": MethodCase("lora", {"r": 4, "alpha": 6, "intermediate_lora": True}),
    "ia3": MethodCase("ia3"),
    "dora": MethodCase("dora"),
    "mtl_lora": MethodCase("mtl_lora"),
    "loreft": MethodCase("loreft"),
    "mam": MethodCase("mam"),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
each_kind = pytest.mark.parametrize("architecture", [ARCHITECTURES[name] for name in KINDS], ids=KINDS)
LORA = CASES["lora"]

BaseDir = Callable[[Architecture], Path]


def with_two(architecture: Architecture, base_dir: BaseDir, case: MethodCase, folder: Path) -> tuple[Any, Any]:
    """Both libraries' models with the same two adapters, "a" and "b"."""
    theirs, ours = models(architecture, base_dir(architecture))
    for name in "ab":
        add_random(theirs, name, case.theirs)
        hand_over(theirs, ours, name, folder / name)
    return theirs, ours


def both(theirs: Any, ours: Any, folder: Path, *given: Any, **more: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors that each library makes of "a" and "b": the peer's, ours."""
    for model in (theirs, ours):
        model.average_adapter("made", *given, **more)
    theirs.save_adapter(str(folder / "made"), "made")
    ours.load_adapter(folder / "made", load_as="theirs")
    return ours.adapters["theirs"].state_dict(), ours.adapters["made"].state_dict()


@each_kind
@each_case
@pytest.mark.parametrize("normalize", [True, False])
def test_linear_is_the_peers(
    case: MethodCase, architecture: Architecture, normalize: bool, base_dir: BaseDir, tmp_path: Path
) -> None:
    pair = with_two(architecture, base_dir, case, tmp_path)
    expected, found = both(*pair, tmp_path, ["a", "b"], weights=[0.3, 1.2], normalize_weights=normalize)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert_close(found[name], tensor, name)


@each_kind
@pytest.mark.parametrize("weights", [[0.3, 1.2], [1.0, -0.5], None])
def test_negation_of_b_is_the_peers(
    weights: list[float] | None, architecture: Architecture, base_dir: BaseDir, tmp_path: Path
) -> None:
    pair = with_two(architecture, base_dir, LORA, tmp_path)
    given = {"weights": weights, "combine_strategy": "lora_linear_only_negate_b"}
    expected, found = both(*pair, tmp_path, ["a", "b"], **given)
    for name, tensor in expected.items():
        assert_close(found[name], tensor, name)


@each_kind
def test_decomposed_updates_keep_their_scale_and_the_peers_do_not(
    architecture: Architecture, base_dir: BaseDir, tmp_path: Path
) -> None:
    theirs, ours = with_two(architecture, base_dir, LORA, tmp_path)
    given = {"weights": [0.3, 0.7], "combine_strategy": "lora_delta_w_svd", "svd_rank": 8}
    both(theirs, ours, tmp_path, ["a", "b"], **given)
    units = {name: ours.adapters[name].units for name in ("a", "b", "made", "theirs")}
    for slug, unit in units["made"].items():
        law = (0.3 * units["a"][slug].delta() + 0.7 * units["b"][slug].delta()).detach()
        wrong = units["theirs"][slug].delta().detach()
        assert_close(unit.delta().detach(), law, slug)
        scale = units["a"][slug].scale / units["theirs"][slug].scale
        assert_close(wrong * scale, law, slug)  # α/r stays α, and r is the new rank
    off(wrong, law)


def test_a_dict_gives_the_weights_and_is_an_exception_of_the_peers(base_dir: BaseDir, tmp_path: Path) -> None:
    theirs, ours = with_two(ARCHITECTURES["bert"], base_dir, LORA, tmp_path)
    ours.average_adapter("made", {"a": 1.0, "b": 3.0})
    a, b, found = (ours.adapters[name].state_dict() for name in ("a", "b", "made"))
    for name, tensor in found.items():
        assert_close(tensor, 0.25 * a[name] + 0.75 * b[name], name)
    with pytest.raises(KeyError, match="0"):
        theirs.average_adapter("made", {"a": 1.0, "b": 3.0})


@each_kind
def test_invertible_adapters_are_averaged_too(architecture: Architecture, base_dir: BaseDir, tmp_path: Path) -> None:
    theirs, ours = with_two(architecture, base_dir, MethodCase("seq_bn_inv"), tmp_path)
    for model in (theirs, ours):
        model.average_adapter("made", ["a", "b"])
    theirs.save_adapter(str(tmp_path / "made"), "made")
    with pytest.raises(ValueError, match=r"invertible_adapters.made.F.0.bias is not there"):
        ours.load_adapter(tmp_path / "made", load_as="theirs")
    a, b, found = (ours.adapters[name].state_dict() for name in ("a", "b", "made"))
    inside = [name for name in found if "-embed." in name]
    assert inside
    for name in inside:
        assert_close(found[name], (a[name] + b[name]) / 2, name)


# ---------------------------------------------------------------------------------------------- merging


@each_kind
@pytest.mark.parametrize("kind", ["lora", "vera"])
def test_merged_weights_compute_what_the_peers_do(
    kind: str, architecture: Architecture, base_dir: BaseDir, tmp_path: Path
) -> None:
    theirs, ours = models(architecture, base_dir(architecture))
    add_random(theirs, "a", MethodCase(kind).theirs)
    hand_over(theirs, ours, "a", tmp_path)
    inputs = inputs_of(architecture)
    for model in (theirs, ours):
        model.set_active_adapters("a")
        model.merge_adapter("a")
    with torch.no_grad():
        assert_close(ours(**inputs)[0][inputs_mask(inputs)], theirs(**inputs)[0][inputs_mask(inputs)])


@pytest.mark.parametrize("kind", ["ia3", "dora"])
def test_the_bias_and_the_scale_are_merged_and_the_peers_are_not(kind: str, base_dir: BaseDir, tmp_path: Path) -> None:
    architecture = ARCHITECTURES["bert"]
    biased = peer_model(architecture, base_dir(architecture))
    randomise(biased.bert.encoder)  # whose biases are 0 at first
    biased.save_pretrained(tmp_path / "base")
    theirs, ours = models(architecture, tmp_path / "base")
    case = MethodCase(kind, {} if kind == "ia3" else {"alpha": 16})
    theirs.add_adapter("a", config=case.theirs)
    ours.add_adapter("a", case.ours)
    randomise(nn.ParameterList(peer_parameters(theirs, "a").values()), std=0.1)
    randomise(ours.adapters["a"])
    inputs = inputs_of(architecture)
    mask, outputs = inputs_mask(inputs), []
    for model in (theirs, ours):
        model.set_active_adapters("a")
        with torch.no_grad():
            outputs.append(model(**inputs)[0][mask])
            model.merge_adapter("a")
            outputs.append(model(**inputs)[0][mask])
    assert_close(outputs[3], outputs[2])
    off(outputs[1], outputs[0])


def inputs_mask(inputs: dict[str, Tensor]) -> Tensor:
    return inputs.get("decoder_attention_mask", inputs["attention_mask"]).bool()


# ---------------------------------------------------------------------------------------------- by layer and place


@each_kind
@each_case
def test_modules_lie_under_the_peers_layers_and_places(
    case: MethodCase, architecture: Architecture, base_dir: BaseDir
) -> None:
    theirs, ours = models(architecture, base_dir(architecture))
    theirs.add_adapter("a", config=case.theirs)
    ours.add_adapter("a", case.ours)
    wanted, found = theirs.get_adapter("a"), ours.get_adapter("a")
    for layer, places in wanted.items():
        for place, module in places.items():
            if "prefix" in place or layer == -1:
                continue  # of prefixes, the peer has all in the first layer, and nothing in the others
            assert isinstance(found[layer][place], nn.ModuleList) == isinstance(module, nn.ModuleList)
            if isinstance(module, nn.ModuleList):
                assert len(found[layer][place]) == len(module)
    assert {place for places in wanted.values() for place in places} <= {
        place for places in found.values() for place in places
    }
    assert set(found) - {-1} == set(wanted) - {-1} or "prefix" in str(wanted)
