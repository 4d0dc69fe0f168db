"""Where the peer's own attention code goes wrong, and where its flags for BERT's cross-attention are others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers import adapting
from tests.helpers.head_cases import each_with
from tests.helpers.hf_models import Case
from tests.helpers.method_cases import CASES
from tests.helpers.peer_adapters import (
    add_random,
    flexible_class,
    hidden,
    inputs_of,
    off,
    our_model,
    peer_static,
    real_positions,
    same,
    save_hf,
)
from tests.parity_adapters.conftest import Pair

BERT = ARCHITECTURES["bert"]


@each_with("seq2seq_lm")
def test_prefixes_in_a_causal_decoder_do_not_depend_on_how_attention_is_computed(
    pairs: Callable[[Architecture], Pair],
    base_dir: Callable[[Architecture], Path],
    architecture: Architecture,
    tmp_path: Path,
) -> None:
    eager, ours = pairs(architecture)
    kind = flexible_class(architecture)
    sdpa = kind.from_pretrained(base_dir(architecture), attn_implementation="sdpa").eval()
    add_random(eager, "a", CASES["prefix"].theirs)
    eager.save_adapter(str(tmp_path), "a")
    for model in (sdpa, ours):
        model.load_adapter(str(tmp_path))
    for model in (eager, sdpa, ours):
        model.set_active_adapters("a")
    inputs = inputs_of(architecture, "none")
    law = hidden(eager, inputs)
    same(hidden(ours, inputs), law)
    off(hidden(sdpa, inputs), law)


def test_each_block_of_a_bert_decoder_has_a_flag_of_its_own(tmp_path: Path) -> None:
    folder = save_hf(Case(BERT, None), tmp_path / "model", is_decoder=True, add_cross_attention=True)
    ours = our_model(BERT, folder, "Model")
    theirs = peer_static(Case(BERT, None), folder)
    inputs = {**inputs_of(BERT), "encoder_hidden_states": torch.randn(4, 6, ours.base.config.width)}
    for flags in ({"cross_adapter": True}, {"cross_adapter": False}):
        config = {**CASES["bn"].ours, **flags}
        adapting.add_random(ours, "a", adapting.resolve_config(config))
        sites = {unit.partition("-")[2] for unit in ours.adapters["a"].units}
        assert any("cross" in site for site in sites) == flags["cross_adapter"]
        ours.delete_adapter("a")
    # The peer's flag for self-attention covers cross-attention, too: with both flags set its files fit, …
    add_random(theirs, "both", CASES["bn"].theirs)
    theirs.save_adapter(str(tmp_path / "both"), "both")
    ours.load_adapter(tmp_path / "both")
    for model in (theirs, ours):
        model.set_active_adapters("both")
    same(hidden(ours, inputs), hidden(theirs, inputs), real_positions(inputs))
    # … with one of them they hold other tensors than the config says, and are refused.
    for name in ("double_seq_bn", "bn-cross-only"):
        theirs.add_adapter(name, config=CASES[name].theirs)
        theirs.save_adapter(str(tmp_path / name), name)
        with pytest.raises(ValueError, match=r"crossattention\.output\.adapters"):
            ours.load_adapter(tmp_path / name)
        assert name not in ours.adapters
