"""Loading costs what reading costs: nothing is drawn at random or computed that a file's values then replace."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from adapterzoo import AutoAdapterModel, LoRAConfig, PredictionHead
from adapterzoo.adapter import Adapter
from adapterzoo.core.blank import FILLING, blank, computed, give
from adapterzoo.core.registry import NamedModules
from adapterzoo.methods.base import resolve_config
from tests.helpers.adapting import add_random, presets, same_bits, small, tensors_of
from tests.helpers.real import ROOT
from tests.helpers.tiny import tiny_model

STARTS = ("pissa", "orthogonal", "vera", "bert")
CONFIGS = {**presets(), **{start: small(resolve_config("lora", init_weights=start)) for start in STARTS}}
CONFIGS |= {"dtype": LoRAConfig(dtype="bfloat16"), "seeded": LoRAConfig(init_weights_seed=3)}


class Drawn:
    """Whether random numbers were drawn within."""

    def __enter__(self) -> Drawn:
        self.before = torch.get_rng_state()
        return self

    def __exit__(self, *error: object) -> None:
        self.any = not torch.equal(self.before, torch.get_rng_state())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with an adapter of every config, and a head."""
    model = tiny_model("bert")
    for name, config in CONFIGS.items():
        add_random(model, name, config)
    model.add_classification_head("pissa", num_labels=3)
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    for name in CONFIGS:
        model.save_adapter(folder / "each" / NamedModules.slug(name), name)
    return model, folder


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_blank_adapter_has_shapes_alone(kind):
    model = tiny_model("bert")
    full = Adapter(CONFIGS[kind], model.base)
    with Drawn() as drawn:
        made = Adapter(CONFIGS[kind], model.base, initialise=False)
    assert not drawn.any
    own, others = made.state_dict(keep_vars=True), full.state_dict(keep_vars=True)
    assert {name: (t.shape, t.dtype) for name, t in own.items()} == {n: (t.shape, t.dtype) for n, t in others.items()}
    assert all(tensor.is_meta for tensor in own.values())
    assert not [name for name, tensor in made.named_buffers() if name not in own]  # a file would not hold it
    give(made, full.state_dict(), torch.device("cpu"))
    assert same_bits(tensors_of(made), tensors_of(full))
    assert [p.requires_grad for p in made.parameters()] == [p.requires_grad for p in full.parameters()]


@pytest.mark.parametrize("kind", CONFIGS)
def test_loading_an_adapter_draws_nothing(kind, saved):
    model, folder = saved
    twin = tiny_model("bert")
    with Drawn() as drawn:
        twin.load_adapter(folder / "each" / NamedModules.slug(kind), load_as="a", set_active=True)
    assert not drawn.any
    assert same_bits(tensors_of(twin.adapters["a"]), tensors_of(model.adapters[kind]))


def test_loading_a_model_draws_nothing(saved):
    with Drawn() as drawn:
        AutoAdapterModel.from_pretrained(saved[1])
    assert not drawn.any


def test_loading_imports_no_compiler(saved):
    code = (
        "import sys; from adapterzoo import AutoAdapterModel; from pathlib import Path",
        f"model = AutoAdapterModel.from_pretrained({str(saved[1])!r})",
        f"[model.load_adapter(folder) for folder in sorted(Path({str(saved[1] / 'each')!r}).iterdir())]",
        "print([name for name in ('torch._dynamo', 'sympy', 'torch._inductor') if name in sys.modules])",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("small_enough", [True, False])
def test_what_is_loaded_is_the_models_own(small_enough, saved, tmp_path, monkeypatch):
    monkeypatch.setattr("adapterzoo.store.SMALL", 1 << 30 if small_enough else 0)
    saved[0].save_pretrained(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    model = AutoAdapterModel.from_pretrained(tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert len(files) > 2
    assert all(path.read_bytes() == content for path, content in files.items())


def test_no_two_tensors_share_memory(saved):
    model = AutoAdapterModel.from_pretrained(saved[1])
    found = [tensor for name in CONFIGS for tensor in tensors_of(model.adapters[name]).values()]
    assert len({tensor.untyped_storage().data_ptr() for tensor in found}) == len(found)


class Measured(PredictionHead):
    """A custom head that computes when it is made."""

    def __init__(self, model, head_name, **kwargs):
        super().__init__(head_name)
        self.config = {"head_type": "measured"}
        self.first = nn.Linear(model.base.config.width, 2)
        self.second = nn.Linear(model.base.config.width, 2)
        self.second.weight = self.first.weight
        self.scale = float(torch.ones(2).sum())

    def forward(self, outputs, cls_output=None, attention_mask=None, return_dict=False, **kwargs):
        return self.first(cls_output) * self.scale


def test_a_custom_head_may_compute_and_tie(tmp_path):
    model, twin = tiny_model("bert"), tiny_model("bert")
    for one in (model, twin):
        one.register_custom_head("measured", Measured)
    model.add_custom_head("measured", "mine")
    model.save_head(tmp_path, "mine")
    twin.load_head(tmp_path)
    assert twin.heads["mine"].scale == 2
    assert twin.heads["mine"].second.weight is twin.heads["mine"].first.weight
    assert same_bits(tensors_of(twin.heads["mine"]), tensors_of(model.heads["mine"]))


def test_nothing_is_filled_or_computed_within():
    with Drawn() as drawn, blank():
        layers = nn.Linear(3, 2), nn.Embedding(4, 3, padding_idx=0), nn.LayerNorm(3)
        for fill in FILLING - {torch.Tensor.copy_, torch.Tensor.fill_}:
            if getattr(fill, "__module__", "") == "torch.nn.init" and fill.__name__ in ("normal_", "orthogonal_"):
                assert fill(torch.empty(3, 3)).is_meta
        assert computed((2, 3), lambda: 1 / 0, torch.float16).dtype == torch.float16
    assert not drawn.any
    assert all(parameter.is_meta for layer in layers for parameter in layer.parameters())
    assert computed((2,), lambda: torch.arange(2)).tolist() == [0, 1]
