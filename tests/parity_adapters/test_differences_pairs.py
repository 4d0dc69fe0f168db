"""Encoder-decoders of two encoders: to the peer each part is a network of its own, here they are one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers import adapting
from tests.helpers.hf_models import Case
from tests.helpers.method_cases import CASES, MethodCase
from tests.helpers.peer_adapters import flexible_class, hidden, inputs_of, off, real_positions, same
from tests.helpers.peer_pairs import BLIND, PAIR, pair_of
from tests.parity_adapters.conftest import Pair

Names = set[str]


@pytest.fixture
def written(pairs: Callable[[Architecture], Pair], tmp_path: Path) -> Callable[[MethodCase], tuple[Names, Names]]:
    """A function from a config to the names in the peer's file and in ours; the peer's is refused here."""
    theirs, ours = pairs(PAIR)

    def write(case: MethodCase) -> tuple[Names, Names]:
        theirs.add_adapter("a", config=case.theirs)
        theirs.save_adapter(str(tmp_path / "theirs"), "a")
        before = adapting.tensors_of(ours)
        with pytest.raises(ValueError, match="does not fit"):
            ours.load_adapter(tmp_path / "theirs")
        assert adapting.same_bits(adapting.tensors_of(ours), before) and "a" not in ours.adapters
        ours.add_adapter("a", case.ours)
        ours.save_adapter(tmp_path / "ours", "a")
        peers = torch.load(tmp_path / "theirs" / "pytorch_adapter.bin", weights_only=True)
        return set(peers), set(load_file(tmp_path / "ours" / "adapter.safetensors"))

    return write


def layers(names: Iterable[str]) -> Names:
    """Which layers of which part names are of: "encoder.0", "decoder.2"."""
    return {f"{name.split('.')[0]}.{name.partition('.layer.')[2].split('.')[0]}" for name in names}


def test_each_layer_has_a_number_of_its_own(written: Callable[[MethodCase], tuple[Names, Names]]) -> None:
    theirs, ours = map(layers, written(MethodCase("lora", {"leave_out": [0, 3]})))
    assert ours == {"encoder.1", "decoder.0", "decoder.2"}
    assert theirs == {"encoder.1", "decoder.1", "decoder.2"}


def test_cross_attention_has_a_flag_of_its_own(written: Callable[[MethodCase], tuple[Names, Names]]) -> None:
    theirs, ours = written(CASES["double_seq_bn"])
    assert not CASES["double_seq_bn"].ours["cross_adapter"]
    assert not any("crossattention" in name for name in ours)
    assert theirs - ours and all("crossattention" in name for name in theirs - ours)


def test_the_encoders_prefix_has_a_flag_of_its_own(written: Callable[[MethodCase], tuple[Names, Names]]) -> None:
    theirs, ours = written(CASES["prefix-no-encoder"])
    assert {name.split(".")[0] for name in ours} == {"decoder"}
    assert {name.split(".")[0] for name in theirs} == {"encoder", "decoder"}


@pytest.mark.parametrize("decoder", sorted(BLIND))
def test_a_decoder_does_not_see_the_encoders_padding(decoder: str, tmp_path: Path) -> None:
    theirs, ours = pair_of(ARCHITECTURES["bert"], ARCHITECTURES[decoder], tmp_path)
    inputs = inputs_of(PAIR)
    where = real_positions(inputs)
    law = hidden(Case(PAIR, None).theirs.from_pretrained(tmp_path).eval(), inputs)
    same(hidden(ours, inputs), law, where)
    off(hidden(theirs, inputs), law, where)


def test_the_peer_has_no_flexible_heads_for_a_pair() -> None:
    assert flexible_class(PAIR) is None
