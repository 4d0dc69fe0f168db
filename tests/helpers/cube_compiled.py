"""The cube's compiled side: each composition of a method as one graph, and none when a setup comes back."""

from __future__ import annotations

from typing import Any

import torch
from torch._dynamo.utils import counters

from tests.helpers.comparing import assert_close, leaves
from tests.helpers.cube import COMPOSITIONS, Bench, Refused, compositions


class CompiledCube:
    """One method under every composition on a model of one layer.

    Args:
        architecture: its name.
        method: the method's preset.
    """

    def __init__(self, architecture: str, method: str) -> None:
        self.bench = Bench(architecture, one_layer=True)
        self.bench.take(method)

    def run(self) -> dict[str, str]:
        """Each composition's result: "holds", "broken: …", or why it is refused."""
        torch._dynamo.reset()
        counters.clear()
        model = self.bench.model
        model.base.compile(fullgraph=True, dynamic=False, backend="eager", recompile_limit=64)
        results = {name: self._first(name) for name in COMPOSITIONS}
        with torch._dynamo.config.patch(error_on_recompile=True):
            for name in [name for name, result in results.items() if result == "holds"]:
                results[name] = self._again(name)
        torch._dynamo.reset()
        return results

    def _first(self, composition: str) -> str:
        refused = self.bench.activate(composition)
        if isinstance(refused, Refused):
            return refused.reason
        before = counters["stats"]["unique_graphs"]
        try:
            self._check(composition)
        except Exception as error:  # whatever goes wrong is this composition's result
            return f"broken: {type(error).__name__}: {error}"
        made = counters["stats"]["unique_graphs"] - before
        broken = made != len(self.bench.model.base.config.stacks()) or counters["graph_break"]
        return f"broken: {made} graphs, {dict(counters['graph_break'])}" if broken else "holds"

    def _again(self, composition: str) -> str:
        self.bench.activate(composition)
        try:
            self._check(composition)
        except Exception as error:
            return f"broken: {type(error).__name__}: {error}"
        return "holds"

    def _check(self, composition: str) -> None:
        model, batch, call = self.bench.model, self.bench.batch, compositions()[composition].call
        with torch.no_grad():
            with torch.compiler.set_stance("force_eager"):
                expected: dict[str, Any] = leaves(model(**batch, **call))
            found = leaves(model(**batch, **call))
        for field, tensor in expected.items():
            assert_close(found[field], tensor, field)
