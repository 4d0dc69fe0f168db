"""PEFT's PREFIX_TUNING and PROMPT_TUNING: one tensor, `prompt_embeddings`.

PEFT counts tokens' positions on from the added ones; here they are counted from the row's first token, as without an
adapter. With `position_ids` that begin at P, ours computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adapterzoo.core.fields import SIZE
from adapterzoo.core.sites import Site
from adapterzoo.formats.peft.fields import Fields
from adapterzoo.formats.peft.kinds import KINDS, Kind, Slot, Tensors
from adapterzoo.formats.peft.places import Places
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.methods.prefix_tuning import PrefixTuningConfig, group_of
from adapterzoo.methods.prompt_tuning import PromptTuningConfig
from adapterzoo.nn.activations import activation
from adapterzoo.nn.transformer import Transformer

EMBEDDINGS = "prompt_embeddings"
GROUP = "self_prefix"
FLAT = f"shared.{GROUP}.control_trans"

# ---------------------------------------------------------------------------------------------- prefixes


def takes_prefix(config: AdapterConfig) -> bool:
    """Prefix tuning."""
    return isinstance(config, PrefixTuningConfig)


def read_prefix(fields: Fields, places: Places, stem: str) -> AdapterConfig:
    """Flat prefixes before the keys and values of a lone stack; an MLP that made them is not in the file."""
    network, length = places.network, fields.get("num_virtual_tokens", int, 0, SIZE)
    if network.decoder is not None:
        fields.problems.append(
            "PEFT's prefixes of a decoder under an encoder cannot be had: they move the positions of its tokens, which "
            "no argument can, and layer i has the prefix of layer 2i"
        )
    stack = network.first
    _check_sizes(fields, token_dim=stack.width, num_layers=stack.layers, num_attention_heads=stack.heads)
    fields.ignore("encoder_hidden_size", "prefix_projection", "init_weights")
    return fields.made(lambda: PrefixTuningConfig(flat=True, prefix_length=length, cross_prefix=False))


def _check_sizes(fields: Fields, **sizes: int) -> None:
    """Note sizes that are not the network's."""
    if fields.content.get("num_virtual_tokens") is None:
        fields.problems.append("it has no num_virtual_tokens")
    for name, size in sizes.items():
        if fields.get(name, int, size) != size:
            fields.problems.append(f"its {name} is {fields.content[name]}, but the model's is {size}")
    fields.ignore("num_transformer_submodules", "num_layers", "num_attention_heads", "token_dim")


def write_prefix(config: PrefixTuningConfig, places: Places) -> dict[str, Any]:
    """The fields of a file."""
    if places.network.decoder is not None:
        raise ValueError("PEFT has no prefixes of an encoder-decoder that compute what these do")
    if config.use_gating:
        raise ValueError("PEFT's prefixes have no gate (use_gating)")
    there = prefixed(config, places)
    if len(there) < places.network.layers:
        raise ValueError(f"PEFT's prefixes are in every layer; leave_out={list(config.leave_out)} cannot be had")
    if any(group_of(site, places.network) != GROUP for site in there):
        raise ValueError("PEFT has no prefixes of cross-attention (cross_prefix)")
    stack = places.network.first
    return {
        "num_virtual_tokens": config.prefix_length,
        "prefix_projection": False,
        "token_dim": stack.width,
        "num_layers": stack.layers,
        "num_attention_heads": stack.heads,
        "num_transformer_submodules": 1,
    }


def prefixed(config: PrefixTuningConfig, places: Places) -> list[Site]:
    """Where a config puts prefixes."""
    return [site for site in places.every if config.covers(site, places.network)]


def told_prefix(config: PrefixTuningConfig) -> AdapterConfig:
    """Prefixes that an MLP makes are written as they come out of it."""
    return config.replace(flat=True)


def slots_prefix(config: PrefixTuningConfig, places: Places) -> list[Slot]:
    """All prefixes: P rows, in each the keys and values of every layer in turns, as ours are."""
    stack = places.network.first
    shape = (config.prefix_length, 2 * stack.layers * stack.width)
    return [Slot(EMBEDDINGS, FLAT, shape, whole=True)]


def give_prefix(config: PrefixTuningConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """What an MLP makes of its embeddings, where there is one."""
    if FLAT in tensors:
        return dict(tensors)
    wte, weights, biases = (
        [tensors[f"shared.{GROUP}.{name}"] for name in names]
        for names in (["wte.weight"], ["net.0.weight", "net.1.weight"], ["net.0.bias", "net.1.bias"])
    )
    inner = activation(config.non_linearity)(F.linear(wte[0], weights[0], biases[0]))
    return {FLAT: F.linear(inner, weights[1], biases[1])}


KINDS.add(
    "PREFIX_TUNING",
    Kind(
        takes_prefix,
        read_prefix,
        write_prefix,
        slots_prefix,
        told_prefix,
        give=give_prefix,
        is_prompt=True,
        moves=True,
    ),
)

# ---------------------------------------------------------------------------------------------- prompts


def takes_prompt(config: AdapterConfig) -> bool:
    """Prompt tuning."""
    return isinstance(config, PromptTuningConfig)


def read_prompt(fields: Fields, places: Places, stem: str) -> AdapterConfig:
    """A prompt in front of the first stack's input."""
    length, stack = fields.get("num_virtual_tokens", int, 0, SIZE), places.network.first
    if stack.room is not None and length > stack.room:
        fields.problems.append(f"its prompt has {length} positions, but the model has {stack.room}")
    _check_sizes(fields, token_dim=stack.token_width)
    fields.ignore("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs")
    return fields.made(lambda: PromptTuningConfig(prompt_length=length))


def write_prompt(config: PromptTuningConfig, places: Places) -> dict[str, Any]:
    """There is no such file.

    Raises:
        ValueError: always; the message says why.
    """
    raise ValueError(
        "PEFT's prompts come before the embeddings' LayerNorm and have positions; ours come after it and have none, "
        "and what a LayerNorm has put out does not tell what went in"
    )


def slots_prompt(config: PromptTuningConfig, places: Places) -> list[Slot]:
    """The prompt."""
    stack = next(iter(places.network.stacks()))
    shape = (config.prompt_length, places.network.first.token_width)
    return [Slot(EMBEDDINGS, f"units.{stack}-input.prompt_embedding.weight", shape, whole=True)]


def of_the_first(content: Mapping[str, Any], slots: list[Slot], tensors: Tensors) -> dict[str, Tensor]:
    """The first half where a file has a prompt for two stacks: PEFT reads no more of it."""
    rows, given = slots[0].shape[0], tensors.get(EMBEDDINGS)
    twice = content.get("num_transformer_submodules") == 2
    return {EMBEDDINGS: given[:rows]} if twice and given is not None and len(given.shape) == 2 else {}


def receive_prompt(config: PromptTuningConfig, tensors: Tensors, network: Transformer) -> dict[str, Tensor]:
    """What the embedding makes of the prompt: with positions 0 to P - 1, token type 0 and its LayerNorm."""
    stack, numbers = next(iter(network.config.stacks())), network.config.first
    embed: Any = network.embed[stack]
    like, training = network.token_of(stack).weight, embed.training
    rows = torch.arange(config.prompt_length, device=like.device) + numbers.first_position
    with torch.no_grad():
        made = {key: embed.eval()(tensor.to(like), rows, None) for key, tensor in tensors.items()}
    embed.train(training)
    return made


KINDS.add(
    "PROMPT_TUNING",
    Kind(
        takes_prompt,
        read_prompt,
        write_prompt,
        slots_prompt,
        receive=receive_prompt,
        instead=of_the_first,
        is_prompt=True,
        moves=True,
    ),
)
