"""Prefixes and prompts of PEFT's, which count tokens' positions on from the positions that they add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapterzoo import PrefixTuningConfig, PromptTuningConfig
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import add_random
from tests.helpers.hf_models import Case
from tests.helpers.peer_adapters import distance, fields, hidden, off, real_positions, same
from tests.helpers.peft_adapters import (
    BARE,
    LONE_CACHED,
    NAMES,
    batch_of,
    moved,
    named_gradients,
    opened,
    our_gradients,
    peft,
    small_peer,
    wrapped,
)
from tests.helpers.refusing import refuses

P = 4
TOLD = "PEFT counts tokens' positions from 4 on"


def width_of(ours: Any) -> int:
    """The width of the token embedding, which PEFT must be told where it is not the network's."""
    return int(ours.base.config.first.token_width)


def pair_of(name: str) -> tuple[Any, Any]:
    return small_peer(Case(ARCHITECTURES[name], None))


def states(model: Any, inputs: Any, tokens: int) -> torch.Tensor:
    """The last hidden states of the caller's tokens."""
    with torch.no_grad():
        return model(**inputs)[0][:, -tokens:]


@pytest.mark.parametrize("name", LONE_CACHED)
@pytest.mark.parametrize("projection", [False, True], ids=["flat", "projected"])
def test_prefixes_of_pefts_compute_the_same_with_positions_from_their_end(
    name: str, projection: bool, tmp_path: Path, caplog: Any
) -> None:
    model, ours = pair_of(name)
    config = peft.PrefixTuningConfig(
        task_type=BARE, num_virtual_tokens=P, prefix_projection=projection, encoder_hidden_size=11
    )
    theirs = wrapped(model, config)
    theirs.save_pretrained(tmp_path)
    ours.load_adapter(tmp_path, load_as="a", set_active=True)
    assert TOLD in caplog.text
    inputs = batch_of(name)
    where, bare = real_positions(inputs), hidden(ours, moved(name, inputs, P))
    expected = states(theirs, inputs, 10)
    same(bare, expected, where)
    off(hidden(ours, inputs), expected, where)  # without, they are elsewhere
    ours.set_active_adapters(None)
    assert distance(hidden(ours, moved(name, inputs, P)), expected, where) > 0.01


@pytest.mark.parametrize("name", LONE_CACHED)
def test_prefixes_of_pefts_have_the_same_gradients(name: str, tmp_path: Path) -> None:
    model, ours = pair_of(name)
    theirs = wrapped(model, peft.PrefixTuningConfig(task_type=BARE, num_virtual_tokens=P))
    theirs.save_pretrained(tmp_path)
    ours.load_adapter(tmp_path, load_as="a", set_active=True)
    inputs = batch_of(name)
    where, weights = real_positions(inputs), torch.randn(32)
    (theirs(**inputs)[0][where] * weights).sum().backward()
    (ours(**moved(name, inputs, P))[0][where] * weights).sum().backward()
    expected, found = named_gradients(theirs, "")["prompt_embeddings"], our_gradients(ours, "a")["prompt_embeddings"]
    same(found.reshape(expected.shape) / expected.abs().max(), expected / expected.abs().max())


@pytest.mark.parametrize("name", LONE_CACHED)
@pytest.mark.parametrize("flat", [True, False], ids=["flat", "from an MLP"])
def test_prefixes_written_here_compute_the_same_in_peft(name: str, flat: bool, tmp_path: Path) -> None:
    model, ours = pair_of(name)
    add_random(ours, "a", PrefixTuningConfig(prefix_length=P, flat=flat, bottleneck_size=7, non_linearity="relu"))
    ours.save_adapter(tmp_path, "a", to="peft")
    ours.set_active_adapters("a")
    inputs = batch_of(name)
    expected = states(opened(model, tmp_path), inputs, 10)
    same(hidden(ours, moved(name, inputs, P)), expected, real_positions(inputs))


def test_flat_prefixes_go_to_peft_and_back_with_the_same_bits(tmp_path: Path) -> None:
    _, ours = pair_of("bert")
    config = PrefixTuningConfig(prefix_length=P, flat=True, cross_prefix=False)
    add_random(ours, "a", config)
    ours.save_adapter(tmp_path, "a", to="peft")
    ours.load_adapter(tmp_path, load_as="b")
    assert ours.adapters_config.get("b") == config
    first, second = (ours.adapters[name].state_dict() for name in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_of_pefts_compute_the_same_with_positions_from_their_end(
    name: str, tmp_path: Path, caplog: Any
) -> None:
    model, ours = pair_of(name)
    sizes = {"token_dim": width_of(ours), "num_attention_heads": 4}
    config = peft.PromptTuningConfig(task_type=BARE, num_virtual_tokens=P, **sizes)
    theirs = wrapped(model, config)
    theirs.save_pretrained(tmp_path)
    ours.load_adapter(tmp_path, load_as="a", set_active=True)
    assert TOLD in caplog.text
    assert ours.adapters_config.get("a") == PromptTuningConfig(prompt_length=P)
    inputs = batch_of(name)
    where, given = real_positions(inputs), moved(name, inputs, P)
    expected = states(theirs, inputs, where.size(1))
    same(hidden(ours, given), expected, where)
    off(hidden(ours, inputs), expected, where)
    ours.set_active_adapters(None)
    assert distance(hidden(ours, given), expected, where) > 0.001


@pytest.mark.parametrize("name", ["bart", "mbart"])
def test_of_a_prompt_for_two_stacks_the_half_that_peft_reads_is_read(name: str, tmp_path: Path) -> None:
    static = next(kind for kind in ARCHITECTURES[name].statics if kind.head_type == "seq2seq_lm")
    model, ours = small_peer(Case(ARCHITECTURES[name], static))
    theirs = wrapped(model, peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P))
    theirs.save_pretrained(tmp_path)
    assert load_file(tmp_path / "adapter_model.safetensors")["prompt_embeddings"].shape == (2 * P, 32)
    ours.load_adapter(tmp_path, load_as="a", set_active=True)
    inputs = batch_of(name)
    with torch.no_grad():
        expected = theirs(**inputs)["logits"]
        found = ours(**moved(name, inputs, P))["logits"]
    same(found, expected, real_positions(inputs))


@pytest.mark.parametrize("name", ["bert", "bart"])
def test_a_prompt_of_ours_is_not_written_for_peft_which_has_none_such(name: str, tmp_path: Path) -> None:
    _, ours = pair_of(name)
    add_random(ours, "a", PromptTuningConfig(prompt_length=P))
    with refuses(ValueError, "come before the embeddings' LayerNorm", model=ours, folder=tmp_path):
        ours.save_adapter(tmp_path, "a", to="peft")


def test_prefixes_that_peft_cannot_have_are_not_written(tmp_path: Path) -> None:
    wrong = {
        "no gate": {"use_gating": True, "shared_gating": False},
        "leave_out=[1] cannot be had": {"leave_out": [1]},
    }
    _, ours = pair_of("roberta")
    for said, changes in wrong.items():
        add_random(ours, "a", PrefixTuningConfig(prefix_length=P, **changes))
        with refuses(ValueError, said, model=ours, folder=tmp_path):
            ours.save_adapter(tmp_path, "a", to="peft")
        ours.delete_adapter("a")
    _, ours = pair_of("bart")
    add_random(ours, "a", PrefixTuningConfig(prefix_length=P))
    with refuses(ValueError, "PEFT has no prefixes of an encoder-decoder", model=ours, folder=tmp_path):
        ours.save_adapter(tmp_path, "a", to="peft")


def test_pefts_prefixes_of_a_decoder_under_an_encoder_are_refused_for_layers_have_those_of_others(
    tmp_path: Path,
) -> None:
    static = next(kind for kind in ARCHITECTURES["bart"].statics if kind.head_type == "seq2seq_lm")
    model, ours = small_peer(Case(ARCHITECTURES["bart"], static), **fields(ARCHITECTURES["bart"]), decoder_layers=2)
    theirs = wrapped(model, peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P))
    theirs.save_pretrained(tmp_path)
    inputs = batch_of("bart")
    with torch.no_grad():
        before = theirs(**inputs)["logits"]
        theirs.prompt_encoder["default"].embedding.weight[:, 64:] += 1  # the second layer's, which no layer has
        assert torch.equal(theirs(**inputs)["logits"], before)
    with refuses(ValueError, "they move the positions of its tokens", "layer i has the prefix of layer 2i", model=ours):
        ours.load_adapter(tmp_path)


def test_sizes_of_another_model_are_told(tmp_path: Path) -> None:
    model, ours = pair_of("bert")
    made = peft.PrefixTuningConfig(task_type=BARE, num_virtual_tokens=P, num_layers=1, num_attention_heads=2)
    wrapped(model, made).save_pretrained(tmp_path)
    said = ["its num_layers is 1, but the model's is 2", "its num_attention_heads is 2, but the model's is 4"]
    with refuses(ValueError, *said, model=ours):
        ours.load_adapter(tmp_path)
    assert not list(ours.adapters)
