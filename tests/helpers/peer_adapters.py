"""The peer `adapters` in tests: its models with the same weights as ours, adapters made random, the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES, Architecture
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
    sizes = [name for name in architecture.config.sizes if name.endswith("attention_heads")]
    return {name: small_config(architecture).num_attention_heads for name in sizes}


def save_hf(case: Case, directory: Path, **changes: Any) -> Path:
    """Write a checkpoint of that class of transformers with random weights."""
    peer(case, **{**fields(case.architecture), **changes}).save_pretrained(directory)
    return directory


def flexible_class(architecture: Architecture) -> Any:
    """Return the peer's flexible class, or None."""
    return getattr(adapters(), f"{architecture.name}AdapterModel", None)


def peer_heads(architecture: Architecture) -> set[str]:
    """Return the types of flexible heads that the peer has for the architecture."""
    return set(getattr(flexible_class(architecture), "head_types", ()))


def peer_model(architecture: Architecture, directory: Path, **changes: Any) -> Any:
    """Return the peer's flexible model; transformers' bare one made fit for adapters where there is none, or skip.

    Eager attention: with SDPA its prefix tuning on BART is wrong.
    """
    kind = flexible_class(architecture)
    if kind is None:
        return peer_static(Case(architecture, None), directory, **changes)
    return kind.from_pretrained(directory, attn_implementation="eager", **changes).eval()


def peer_static(case: Case, directory: Path, **changes: Any) -> Any:
    """Return transformers' model of that class, made fit for adapters by the peer, or skip."""
    model = case.theirs.from_pretrained(directory, attn_implementation="eager", **changes).eval()
    try:
        adapters().init(model)
    except ValueError as error:
        pytest.skip(str(error))  # the peer does not know the architecture, as CamemBERT
    for name, parameter in model.named_parameters():
        if name.endswith("in_proj.bias"):  # random, of DeBERTa, whose projection has no bias: test_differences_deberta
            parameter.data.zero_()
    return model.eval()  # what the peer has added is not yet


def our_model(architecture: Architecture, directory: Path, suffix: str = "AdapterModel", **options: Any) -> Any:
    """Return our model of that checkpoint."""
    return zoo.CLASSES[architecture.name + suffix].from_pretrained(directory, **options)


def models(architecture: Architecture, directory: Path) -> tuple[Any, Any]:
    """Return the peer's model of that checkpoint, as `peer_model` does, and ours of the same kind."""
    suffix = architecture.base if flexible_class(architecture) is None else "AdapterModel"
    return peer_model(architecture, directory), our_model(architecture, directory, suffix)


def inputs_of(architecture: Architecture, padding: str = "right") -> dict[str, Tensor]:
    """Return a batch of hf_batches, with the decoder's input, shorter, where there is one."""
    config = small_config(architecture)
    inputs = batch(getattr(config, "encoder", config), padding)
    if config.is_encoder_decoder:
        said = batch(getattr(config, "decoder", config), padding, length=7)
        inputs |= {f"decoder_{name}": value for name, value in said.items()}
    return inputs


def real_positions(inputs: dict[str, Tensor]) -> Tensor | None:
    """Return which positions of the model's output are no padding, (B, T); None: all."""
    mask = inputs.get("decoder_attention_mask", inputs.get("attention_mask"))
    return None if mask is None else mask.bool()


def peer_parameters(model: Any, name: str) -> dict[str, nn.Parameter]:
    """Return the parameters of the peer's adapter by the names in its files, without the copies of prefixes."""
    kinds = ("adapters", "prefix_tunings", "prefix_gates", "loras", "shared_parameters", "refts", "prompt_tunings")
    kinds += ("invertible_adapters",)
    return {
        key: value
        for key, value in model.named_parameters(remove_duplicate=False)
        if any(f".{kind}.{name}." in f".{key}" for kind in kinds) and not is_prefix_copy(key)
    }


def is_prefix_copy(key: str) -> bool:
    """Whether it is one of the names under which the peer holds a prefix again in each layer."""
    return ".prefix_tuning.pool." in key


def is_copy(key: str, architecture: Architecture) -> bool:
    """The same, or the name of what a pair has of its encoder."""
    once = any(place in key for place in ("invertible_adapters.", "shared_parameters."))
    return is_prefix_copy(key) or (once and architecture.specialise is not None and not key.startswith("encoder."))


def add_random(theirs: Any, name: str, config: Any) -> None:
    """Give the peer's model an adapter with random weights, or skip."""
    theirs.add_adapter(name, config=config)
    skip_if_elsewhere(ARCHITECTURES[theirs.config.model_type], theirs.adapters_config.get(name))
    make_random(theirs, name)


def make_random(theirs: Any, name: str) -> None:
    """Give an adapter of the peer's random weights; not so large that float32 has no five digits left."""
    parameters = peer_parameters(theirs, name)
    randomise(nn.ParameterList(parameters.values()), std=0.1)
    sign_diagonals(parameters)


def sign_diagonals(parameters: Mapping[str, Tensor]) -> None:
    """Undo what is random where the peer reads signs: -0.9 is 0 to it, and -1 here (test_differences_prompts)."""
    for name, parameter in parameters.items():
        if name.endswith(("projection.original", "projection.parametrizations.weight.original")):
            parameter.data.diagonal().fill_(-1)


def skip_if_elsewhere(architecture: Architecture, config: Any) -> None:
    """Skip configs that mean something else in the peer, or nothing; the tests of differences say what."""
    fields = config.to_dict()
    for member in fields.get("configs", [fields]):
        _skip_if_elsewhere(architecture, member)


def _skip_if_elsewhere(architecture: Architecture, fields: dict[str, Any]) -> None:
    if fields.get("architecture") == "prompt_tuning" and not has_prompts(architecture):
        pytest.skip("the peer has no prompts in encoder-decoders, and those of DeBERTa and DistilBERT raise exceptions")
    if fields.get("selfattn_lora") and "attn.q" in architecture.places:
        pytest.skip("the peer's LoRA acts on other rows of DeBERTa's fused projection")
    if fields.get("use_dora") or fields.get("vera_d") is not None:
        pytest.skip("the peer's DoRA and VeRA are others; test_dora_and_vera compares where they are the same")
    if fields.get("residual_before_ln") == "post_add" and fields["original_ln_before"] and pre_norm(architecture):
        pytest.skip("the peer has no sum to take where no LayerNorm follows")
    if architecture.specialise is None:
        return
    if fields.get("inv_adapter"):
        pytest.skip("the peer's pair has a fixed head, which scores words without the inverse")
    layers = fields.get("layers", "all")
    if fields.get("leave_out") or isinstance(fields.get("reduction_factor"), dict) or layers != "all":
        pytest.skip("the peer counts the layers of each part of a pair from 0")
    if fields.get("mh_adapter") != fields.get("cross_adapter"):
        pytest.skip("the peer's cross-attention has the self-attention's flag in a BERT decoder")
    if not fields.get("encoder_prefix", True):
        pytest.skip("the peer does not know a pair's encoder from its decoder")


def has_prompts(architecture: Architecture) -> bool:
    """Whether the peer's prompt tuning runs there."""
    alone = len(architecture.network(architecture.config()).stacks()) == 1
    return alone and architecture.model_type not in ("deberta", "deberta-v2", "distilbert")


def pre_norm(architecture: Architecture) -> bool:
    """Whether LayerNorms come before the blocks, so that none follows a join."""
    return architecture.network(architecture.config()).first.pre_norm


def hand_over(theirs: Any, ours: Any, name: str, directory: Path) -> None:
    """Save an adapter of the peer's and load it here."""
    theirs.save_adapter(str(directory), name)
    ours.load_adapter(directory)


def hidden(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the model's last hidden states."""
    with torch.no_grad():
        return last_states(model, inputs)


def last_states(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the model's last hidden states of the caller's tokens; the peer's output has those of prompts, too."""
    out: Tensor = model(**inputs)[0]
    more = out.size(1) - inputs.get("decoder_input_ids", inputs["input_ids"]).size(1)
    if not more:
        return out
    combine = model.adapters_config.get(model.active_adapters.first())["combine"]
    first = int(combine == "prefix_after_bos")
    return torch.cat([out[:, :first], out[:, first + more :]], 1)


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
