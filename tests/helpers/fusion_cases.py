"""Configs of AdapterFusions to compare with the peer `adapters`, and fusions made random."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import adapterzoo
from adapterzoo.archs import ARCHITECTURES
from tests.helpers.adapting import add_random
from tests.helpers.method_cases import CASES
from tests.helpers.peer_adapters import adapters, hand_over
from tests.helpers.peer_adapters import add_random as add_random_peer
from tests.helpers.tiny import DISTINCT, randomise


@dataclass(frozen=True)
class FusionCase:
    """One fusion, as either library makes it.

    Args:
        of: names of the adapters' cases.
        kind: "Static" or "Dynamic".
        changes: fields.
    """

    of: tuple[str, ...] = ("double_seq_bn", "double_seq_bn")
    kind: str = "Dynamic"
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> Any:
        """Our config."""
        return getattr(adapterzoo, f"{self.kind}AdapterFusionConfig")(**self.changes)

    @property
    def theirs(self) -> Any:
        """The peer's config."""
        return getattr(adapters(), f"{self.kind}AdapterFusionConfig")(**self.changes)

    @property
    def names(self) -> list[str]:
        """The adapters' names."""
        return [f"n{number}" for number in range(len(self.of))]


def _flipped(name: str) -> FusionCase:
    config = adapterzoo.DynamicAdapterFusionConfig()
    return FusionCase(("seq_bn", "seq_bn"), changes={name: not config[name]})


FUSIONS: dict[str, FusionCase] = {
    "dynamic": FusionCase(),
    "static": FusionCase(kind="Static"),
    "three": FusionCase(("seq_bn", "seq_bn", "seq_bn")),
    "static three": FusionCase(("double_seq_bn",) * 3, "Static", {"query_before_ln": True}),
    "one": FusionCase(("seq_bn",)),
    "everywhere": FusionCase(("bn-after-ln",) * 2),
    "alone": FusionCase(("bn-after-ln-alone",) * 2),
    "plus": FusionCase(("adapter-plus",) * 2, "Static"),
    "post add": FusionCase(("bn-post-add",) * 2),
    "residual after": FusionCase(("bn-residual-after-ln",) * 2, changes={"residual_before": True}),
    "gated": FusionCase(("bn-gate",) * 2, "Static"),
    "own norms": FusionCase(("bn-own-lns", "bn-own-ln-after")),
    "sizes": FusionCase(("bn", "bn-by-layer", "bn-channel")),
    "left out": FusionCase(("bn-leave-out",) * 2),
    "nothing": FusionCase(("seq_bn", "seq_bn"), changes={"query": False, "key": False, "value": False}),
    "query only": FusionCase(("seq_bn", "seq_bn"), "Static", {"key": False}),
    "dropout": FusionCase(("seq_bn", "seq_bn"), changes={"dropout_prob": 0.3}),
    **{name: _flipped(name) for name in adapterzoo.DynamicAdapterFusionConfig() if name != "dropout_prob"},
}
"""Fusions by a name for reports: every field moved, over every kind of bottleneck."""

FUSION_SAMPLE = ("dynamic", "query_before_ln", "residual after", "alone")

each_fusion = pytest.mark.parametrize(
    ("architecture", "case"),
    [
        pytest.param(kind, case, id=f"{kind.name}-{name}")
        for kind in ARCHITECTURES.values()
        for name, case in FUSIONS.items()
        if kind.model_type in DISTINCT[:2] or name in FUSION_SAMPLE
    ],
)
"""Parametrises a test over architectures and fusions: a sample of these but for the first architectures."""


def fusion_parameters(theirs: Any, name: str) -> dict[str, nn.Parameter]:
    """The parameters of the peer's fusion by the names in its files."""
    return {key: value for key, value in theirs.named_parameters() if f"adapter_fusion_layer.{name}." in key}


def set_temperature(theirs: Any, ours: Any, name: str) -> None:
    """Let both fusions have the temperature that ours has after a file that does not say it."""
    for key, module in theirs.named_modules():
        if key.endswith(f"adapter_fusion_layer.{name}"):
            module.T = 1.0
    for shared in ours.fusions[name].shared.values():
        shared.fall()


def fuse(theirs: Any, ours: Any, case: FusionCase, folder: Path) -> str:
    """Give both models the same adapters and the same fusion of them, and activate it; returns its name."""
    for name, of in zip(case.names, case.of, strict=True):
        add_random_peer(theirs, name, CASES[of].theirs)
        hand_over(theirs, ours, name, folder / name)
    name = ",".join(case.names)
    theirs.add_adapter_fusion(case.names, case.theirs)
    randomise(nn.ParameterList(fusion_parameters(theirs, name).values()), std=0.1)
    theirs.eval()
    theirs.save_adapter_fusion(str(folder / "fusion"), case.names)
    assert ours.load_adapter_fusion(folder / "fusion") == name
    set_temperature(theirs, ours, name)
    theirs.set_active_adapters(adapters().Fuse(*case.names))
    ours.set_active_adapters(adapterzoo.Fuse(*case.names))
    return name


def add_random_fusion(model: Any, names: list[str], config: Any = None, fused_as: str | None = None) -> None:
    """Add a fusion of adapters of a model, all of its weights random."""
    model.add_adapter_fusion(names, config, name=fused_as)
    randomise(nn.ParameterList(model.fusions[fused_as or ",".join(names)].parameters()))


def add_pair(model: Any, config: Any, names: tuple[str, str] = ("a", "b")) -> None:
    """Add two random adapters of a config, and a random fusion of them."""
    for name in names:
        add_random(model, name, config)
    add_random_fusion(model, list(names))


def tensors_of_outputs(scores: dict[str, Any]) -> dict[tuple[str, int, str], torch.Tensor]:
    """Scores by name, layer and place, the peer's made tensors."""
    return {
        (name, layer, place): torch.as_tensor(value)
        for name, layers in scores.items()
        for layer, places in layers.items()
        for place, value in places.items()
    }
