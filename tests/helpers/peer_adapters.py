"""The peer `adapters` in tests: its models with the same weights as ours, adapters made random, the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapterzoo import zoo
from adapterzoo.archs import Architecture
from tests.helpers.hf_batches import batch
from tests.helpers.hf_models import Case, peer, small_config
from tests.helpers.tiny import randomise

CLOSE = 1e-5
"""What the package promises: so far apart may numbers be, relative to the largest."""


def adapters() -> Any:
    """Return the peer, or skip."""
    return pytest.importorskip("adapters", reason="the peer `adapters` is not installed")


def fields(architecture: Architecture) -> dict[str, Any]:
    """Return what the peer needs changed in a small config: its prefixes have the encoder's heads everywhere."""
    heads = small_config(architecture).num_attention_heads
    return {name: heads for name in architecture.config.sizes if name.endswith("attention_heads")}


def save_hf(case: Case, directory: Path, **changes: Any) -> Path:
    """Write a checkpoint of that class of transformers with random weights."""
    peer(case, **{**fields(case.architecture), **changes}).save_pretrained(directory)
    return directory


def peer_model(architecture: Architecture, directory: Path, **changes: Any) -> Any:
    """Return the peer's flexible model. Eager attention: with SDPA its prefix tuning on BART is wrong."""
    kind = getattr(adapters(), f"{architecture.name}AdapterModel")
    return kind.from_pretrained(directory, attn_implementation="eager", **changes).eval()


def peer_static(case: Case, directory: Path, **changes: Any) -> Any:
    """Return transformers' model of that class, made fit for adapters by the peer."""
    model = case.theirs.from_pretrained(directory, attn_implementation="eager", **changes).eval()
    adapters().init(model)
    return model


def our_model(architecture: Architecture, directory: Path, suffix: str = "AdapterModel", **options: Any) -> Any:
    """Return our model of that checkpoint."""
    return zoo.CLASSES[architecture.name + suffix].from_pretrained(directory, **options)


def inputs_of(architecture: Architecture, padding: str = "right") -> dict[str, Tensor]:
    """Return a batch of hf_batches, with the decoder's input, shorter, where there is one."""
    config = small_config(architecture)
    inputs = batch(config, padding)
    if config.is_encoder_decoder:
        said = batch(config, padding, length=7)
        inputs |= {f"decoder_{name}": value for name, value in said.items()}
    return inputs


def real_positions(inputs: dict[str, Tensor]) -> Tensor | None:
    """Return which positions of the model's output are no padding, (B, T); None: all."""
    mask = inputs.get("decoder_attention_mask", inputs.get("attention_mask"))
    return None if mask is None else mask.bool()


def peer_parameters(model: Any, name: str) -> dict[str, nn.Parameter]:
    """Return the parameters of the peer's adapter by the names in its files, without the copies of prefixes."""
    kinds = ("adapters", "prefix_tunings", "prefix_gates", "loras", "shared_parameters")
    return {
        key: value
        for key, value in model.named_parameters(remove_duplicate=False)
        if any(f".{kind}.{name}." in f".{key}" for kind in kinds) and not is_prefix_copy(key)
    }


def is_prefix_copy(key: str) -> bool:
    """Whether it is one of the names under which the peer holds a prefix again in each layer."""
    return ".prefix_tuning.pool." in key


def add_random(theirs: Any, name: str, config: Any) -> None:
    """Give the peer's model an adapter with random weights; not so large that float32 has no five digits left."""
    theirs.add_adapter(name, config=config)
    randomise(nn.ParameterList(peer_parameters(theirs, name).values()), std=0.1)


def hand_over(theirs: Any, ours: Any, name: str, directory: Path) -> None:
    """Save an adapter of the peer's and load it here."""
    theirs.save_adapter(str(directory), name)
    ours.load_adapter(directory)


def hidden(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the model's last hidden states."""
    with torch.no_grad():
        out: Tensor = model(**inputs)[0]
    return out


def same(ours: Tensor, theirs: Tensor, where: Tensor | None = None) -> None:
    """Assert that numbers agree to the promise, everywhere or where `where` is."""
    apart = distance(ours, theirs, where)
    assert apart <= CLOSE, apart


def distance(ours: Tensor, theirs: Tensor, where: Tensor | None = None) -> float:
    """Return how far apart the numbers are at most, relative to the largest (or 1, if that is smaller)."""
    if where is not None:
        ours, theirs = ours[where], theirs[where]
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))


def off(theirs: Tensor, law: Tensor, where: Tensor | None = None) -> None:
    """Assert that the peer breaks a law by more than any rounding does, and print by how much (`pytest -rP`)."""
    apart = distance(theirs, law, where)
    print(f"the peer is off by {apart:.2g}")
    assert apart > 100 * CLOSE
