"""A published adapter, written by version 3.0.1 for bert-base-uncased, acts the same here and in the peer."""

from __future__ import annotations

from pathlib import Path

from adapterzoo.archs import ARCHITECTURES
from tests.helpers.hf_models import Case
from tests.helpers.peer_adapters import (
    distance,
    hidden,
    inputs_of,
    our_model,
    peer_model,
    real_positions,
    same,
    save_hf,
)

BERT = ARCHITECTURES["bert"]
SIZE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 96}
"""As wide and deep as the adapter was made for; the rest small."""


def test_a_published_adapter_acts_the_same(shared: Path, tmp_path: Path) -> None:
    folder = shared / "checkpoints" / "adapterhub-bert-pfeiffer"
    base = save_hf(Case(BERT, None), tmp_path, **SIZE)
    theirs, ours = peer_model(BERT, base), our_model(BERT, base)
    name = ours.load_adapter(folder)
    assert theirs.load_adapter(str(folder)) == name
    assert ours.adapters_config.get(name).to_dict() == theirs.adapters_config.get(name).to_dict()
    inputs = inputs_of(BERT)
    where = real_positions(inputs)
    bare = hidden(ours, inputs)
    for model in (theirs, ours):
        model.set_active_adapters(name)
    law = hidden(theirs, inputs)
    same(hidden(ours, inputs), law, where)
    assert distance(bare, law, where) > 0.01
