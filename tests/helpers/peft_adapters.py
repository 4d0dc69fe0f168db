"""The peer `peft` in tests: adapters of its making on small models of transformers, and what both compute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo.archs import ARCHITECTURES, Architecture
from adapterzoo.core.sites import sites_of
from adapterzoo.formats import peft as ours_of
from tests.helpers.hf_models import Case, kept_pair
from tests.helpers.peer_adapters import inputs_of
from tests.helpers.tiny import randomise

peft = pytest.importorskip("peft", reason="the peer `peft` is not installed")

NAMES = ("bert", "roberta", "xlm-roberta", "bart", "mbart", "distilbert", "electra")
LONE = tuple(name for name in NAMES if ARCHITECTURES[name].network(ARCHITECTURES[name].config()).decoder is None)
LONE_CACHED = tuple(name for name in LONE if name != "distilbert")
"""Architectures of one stack that take keys and values of earlier tokens in transformers, as PEFT's prefixes need."""

QUIET = [
    pytest.mark.filterwarnings(f"ignore:{said}:UserWarning")
    for said in (
        "Specified to not (save|load) vera_A",  # its matrices are drawn again
        "Setting `save_embedding_layers`",
        "Model has `tie_word_embeddings=True`",
        "Unsupported layer type .*LayerNorm",
    )
]
"""Marks for what PEFT warns of, and is meant."""

BARE = "FEATURE_EXTRACTION"
Maker = Callable[[Architecture], Any]


def ends(architecture: Architecture, *names: str) -> list[str]:
    """The last parts of the names of the modules at these sites."""
    sites = sites_of(architecture.network(architecture.config()))
    modules = (architecture.hub_module(site).split(".") for site in sites if site.name in names)
    return sorted({".".join(module[-2:] if module[-1] == "dense" else module[-1:]) for module in modules})


def every_linear(architecture: Architecture) -> str:
    """A regular expression for all linear maps that are sites here."""
    names = "|".join(ends(architecture, *(f"attn.{part}" for part in ("q", "k", "v", "out")), "mlp.up", "mlp.down"))
    return rf".*\.(layer|layers)\.\d+\..*({names})"


def no_site(architecture: Architecture) -> list[str] | None:
    """Linear maps of the bare class that are no sites here."""
    network = architecture.network(architecture.config())
    projects = network.first.width != network.first.token_width
    return [*["pooler.dense"] * network.pooler, *["embeddings_project"] * projects] or None


def _lora(**changes: Any) -> Maker:
    return lambda kind: peft.LoraConfig(
        **{"r": 3, "lora_alpha": 7, "target_modules": ends(kind, "attn.q", "attn.v"), **changes}
    )


def _patterned(kind: Architecture) -> Any:
    query, value = ends(kind, "attn.q")[0], ends(kind, "attn.v")[0]
    patterns = {"rank_pattern": {query: 2, rf"\w+\.1\..*{value}": 5}, "alpha_pattern": {rf"1\..*{query}": 3, value: 11}}
    return peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=every_linear(kind), **patterns)


def _layers(kind: Architecture) -> Any:
    modules = ends(kind, "attn.q", "attn.out", "mlp.up")
    return peft.LoraConfig(r=2, target_modules=modules, layers_to_transform=[1], exclude_modules=ends(kind, "mlp.up"))


def _words(kind: Architecture) -> Any:
    return peft.LoraConfig(r=3, lora_alpha=5, target_modules=[*ends(kind, "token"), *ends(kind, "attn.k")])


def _ia3(kind: Architecture) -> Any:
    feed = ends(kind, "mlp.down")
    return peft.IA3Config(target_modules=[*ends(kind, "attn.k", "attn.v"), *feed], feedforward_modules=feed)


def _norms(kind: Architecture) -> Any:
    return peft.LNTuningConfig(target_modules=r".*(?i:layer_?norm).*")


CASES: dict[str, Maker] = {
    "lora": _lora(lora_dropout=0.1),
    "lora-everywhere": lambda kind: peft.LoraConfig(r=2, target_modules=every_linear(kind)),
    "lora-all-linear": lambda kind: peft.LoraConfig(r=3, target_modules="all-linear", exclude_modules=no_site(kind)),
    "lora-patterns": _patterned,
    "lora-layers": _layers,
    "lora-words": _words,
    "lora-pissa": _lora(init_lora_weights="pissa"),
    "dora": lambda kind: peft.LoraConfig(r=2, use_dora=True, target_modules=ends(kind, "attn.q", "mlp.up", "attn.v")),
    "ia3": _ia3,
    "ia3-outputs": lambda kind: peft.IA3Config(target_modules=every_linear(kind), feedforward_modules=[]),
    "ia3-inputs": lambda kind: peft.IA3Config(
        target_modules=every_linear(kind), feedforward_modules=r".*\.0\..*|.*\.layers?\.1\.output.*"
    ),
    "vera": lambda kind: peft.VeraConfig(r=4, target_modules=every_linear(kind), d_initial=0.3),
    "vera-drawn": lambda kind: peft.VeraConfig(
        r=5, target_modules=ends(kind, "attn.q", "mlp.up"), save_projection=False, projection_prng_key=7
    ),
    "ln": _norms,
}
"""What PEFT can make that computes here what it computes there, by a name for reports."""


def prefixes(width: int = 4, **changes: Any) -> Any:
    """PEFT's prefixes."""
    return peft.PrefixTuningConfig(task_type=BARE, num_virtual_tokens=width, **changes)


def small_peer(case: Case, **changes: Any) -> tuple[Any, Any]:
    """A model of transformers' that may be wrapped, and ours with the same weights and no adapters."""
    theirs, ours = kept_pair(case, attn_implementation="eager", **changes)
    for name in list(ours.adapters):
        ours.delete_adapter(name)
    ours.freeze_model(False)
    ours.zero_grad()
    return copy.deepcopy(theirs), ours.eval()


def wrapped(model: Any, config: Any) -> Any:
    """PEFT's model with an adapter whose weights are all random."""
    made = peft.get_peft_model(model, config)
    trained = [parameter for parameter in made.parameters() if parameter.requires_grad]
    randomise(torch.nn.ParameterList(trained), std=0.1)
    return made.eval()


def opened(model: Any, folder: Path) -> Any:
    """PEFT's model with the adapter of a folder."""
    return peft.PeftModel.from_pretrained(model, str(folder)).eval()


def batch_of(name: str) -> dict[str, Tensor]:
    """A batch with padding."""
    return inputs_of(ARCHITECTURES[name])


def moved(name: str, inputs: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The same with positions of tokens that begin `count` later, as PEFT counts them."""
    first = ARCHITECTURES[name].network(ARCHITECTURES[name].config()).first
    start = first.first_position - first.position_offset + count
    positions = torch.arange(start, start + inputs["input_ids"].size(1))
    return {**inputs, "position_ids": positions.expand_as(inputs["input_ids"])}


def named_gradients(model: Any, stem: str) -> dict[str, Tensor]:
    """The gradients of a PEFT model's adapter, by the names in its files."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None or not parameter.requires_grad:
            continue
        bare = name.replace(".default", "").removeprefix("base_model.model.").removeprefix(stem)
        found[bare.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")] = parameter.grad
    return {"prompt_embeddings" if key.startswith("prompt_encoder.") else key: grad for key, grad in found.items()}


def our_gradients(model: Any, name: str) -> dict[str, Tensor]:
    """The gradients of an adapter of ours, by the names in PEFT's files, in the shapes there."""
    adapter, kind = model.adapters[name], model.architecture
    names = ours_of.tensor_names(adapter.config, kind, model.base.config)
    parameters = dict(adapter.named_parameters())
    return {theirs: parameters[ours].grad for theirs, ours in names.items() if ours in parameters}
