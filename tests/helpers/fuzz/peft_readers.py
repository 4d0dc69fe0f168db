"""Readers of what PEFT writes, one for each of its methods and of the ways in which its files say things."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from adapterzoo import AdapterConfig, DoRAConfig, LNTuningConfig, LoRAConfig, PrefixTuningConfig, VeraConfig
from tests.helpers.adapting import add_random
from tests.helpers.fuzz.readers import Reader, host
from tests.helpers.tiny import randomise

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def _written(config: AdapterConfig, head: bool = False) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model = host()
        add_random(model, "made", config)
        if head:
            model.add_classification_head("made", num_labels=3, layers=1, use_pooler=True)
            randomise(model.heads)
        model.save_adapter(folder, "made", with_head=head, to="peft")

    return make


def _drawn(folder: Path) -> None:
    """VeRA without its projections, which are drawn again."""
    _written(VeraConfig(r=4))(folder)
    kept = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if "vera_A" not in name}
    kept = {name: tensor for name, tensor in kept.items() if "vera_B" not in name}
    save_file(kept, folder / WEIGHTS, {"format": "pt"})
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "save_projection": False, "projection_prng_key": 7}))


PASSED = ("peft_version", "inference_mode", "task_type", "auto_mapping", "base_model_name_or_path", "revision")
PASSED += ("prefix_projection", "num_transformer_submodules", "num_attention_heads", "modules_to_save")
"""Entries of PEFT's that say nothing of the adapter, or nothing that its tensors do not say."""


def _peft(make: Callable[[Path], object], head: bool = False, to: str = "peft") -> Reader:
    return Reader(
        make,
        host,
        lambda model, folder: model.load_adapter(folder, load_as="new", set_active=True),
        lambda model, name, folder: model.save_adapter(folder, name, with_head=head, to=to),
        spare=lambda name: "vera_" in name,
        passed=PASSED,
    )


PATTERNS = LoRAConfig(
    r=4, alpha=6, use_rslora=True, sites=("attn.q", "attn.out", "mlp.up"), rank_pattern={"attn.q": 2, "mlp.up": 3}
)

PEFT_READERS = {
    "PEFT, DoRA": _peft(_written(DoRAConfig(r=2))),
    "PEFT, LoRA by patterns": _peft(_written(PATTERNS)),
    "PEFT, LoRA of words": _peft(_written(LoRAConfig(r=2, sites=("token", "attn.k")))),
    "PEFT, LoRA and head": _peft(_written(LoRAConfig(r=2), head=True), head=True),
    "PEFT, VeRA drawn": _peft(_drawn, to="adapterhub"),
    "PEFT, LayerNorms": _peft(_written(LNTuningConfig()), to="adapterhub"),  # what PEFT has is the sum with the model's
    "PEFT, prefix": _peft(_written(PrefixTuningConfig(flat=True, prefix_length=3))),
}
