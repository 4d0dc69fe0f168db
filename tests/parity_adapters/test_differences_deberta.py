"""DeBERTa's fused projection has queries, keys and values head by head; the peer takes it to have all queries first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterzoo.archs import ARCHITECTURES, Architecture
from tests.helpers import adapting
from tests.helpers.hf_models import Case, kept_pair
from tests.helpers.peer_adapters import (
    adapters,
    hidden,
    inputs_of,
    off,
    our_model,
    peer_model,
    peer_parameters,
    real_positions,
    same,
)
from tests.helpers.tiny import randomise
from tests.parity_adapters.conftest import Pair

DEBERTA = ARCHITECTURES["deberta"]
LORA = "lora[attn_matrices=['q'], r=3, alpha=7]"


@pytest.fixture
def pair(base_dir: Callable[[Architecture], Path]) -> Pair:
    """The peer's DeBERTa and ours, with a LoRA of the query "a" that is the same in both."""
    folder = base_dir(DEBERTA)
    theirs, ours = pair = Pair(peer_model(DEBERTA, folder), our_model(DEBERTA, folder))
    theirs.add_adapter("a", config=LORA)
    ours.add_adapter("a", LORA)
    randomise(torch.nn.ParameterList(peer_parameters(theirs, "a").values()), std=0.1)
    for index, projection in enumerate(projections(theirs)):
        ours.adapters["a"].units[f"encoder-{index}-attn-q"].load_state_dict(projection.loras["a"].state_dict())
    return pair


def projections(theirs: Any) -> list[Any]:
    """The peer's fused projections."""
    return [layer.attention.self.in_proj for layer in theirs.deberta.encoder.layer]


def test_lora_of_the_query_changes_queries_alone_as_merging_would(pair: Pair) -> None:
    inputs = inputs_of(DEBERTA)
    where = real_positions(inputs)
    for model in pair:
        model.set_active_adapters("a")
    ours, theirs = hidden(pair.ours, inputs), hidden(pair.theirs, inputs)
    pair.theirs.set_active_adapters(None)
    for projection in projections(pair.theirs):
        lora, heads = projection.loras["a"], pair.theirs.config.num_attention_heads
        queries = projection.weight.data.unflatten(0, (heads, 3, -1))[:, 0]
        queries += (lora.scaling * lora.lora_B @ lora.lora_A).detach().unflatten(0, (heads, -1))
    law = hidden(pair.theirs, inputs)
    same(ours, law, where)
    off(theirs, law, where)


def test_the_peers_lora_in_attention_is_refused_and_told(pair: Pair, tmp_path: Path) -> None:
    pair.theirs.save_adapter(str(tmp_path), "a")
    before = adapting.tensors_of(pair.ours)
    with pytest.raises(ValueError, match=r"layer\.0\.attention\.self\.in_proj\.loras\.a\.lora_A has no place here"):
        pair.ours.load_adapter(tmp_path, load_as="b")
    assert adapting.same_bits(adapting.tensors_of(pair.ours), before) and list(pair.ours.adapters) == ["a"]


def test_the_peer_gives_the_projection_a_random_bias() -> None:
    theirs, ours = kept_pair(Case(DEBERTA, None), position_biased_input=False)  # no other test's models: it changes one
    inputs = inputs_of(DEBERTA)
    where, before = real_positions(inputs), hidden(theirs, inputs)
    same(hidden(ours, inputs), before, where)
    adapters().init(theirs)
    off(hidden(theirs, inputs), before, where)
