"""AdapterDrop in training (Rücklé et al. 2021, arXiv:2010.11918): steps without adapters in the first layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from adapterzoo.context import SkipLayers


@contextmanager
def adapter_drop(model: Any, most: int | None = None, generator: torch.Generator | None = None) -> Iterator[int]:
    """Leave the first n layers without adapters within a `with` block, n drawn anew for each block: one training step.

    n is uniform over 0, 1, …, `most`. An adapter that was trained so works with any of these numbers of layers dropped
    (`set_active_adapters(setup, skip_layers=range(n))`), which saves the time that it takes there. Parameters in the
    dropped layers get no gradient in that step. It holds for what is active, `AdapterSetup` included, and in this
    thread alone. What adapters do outside of layers stays.

    Args:
        model: the model.
        most: the most layers to drop, counted as `skip_layers` counts them: a decoder's go on after the encoder's. All
            but the last if None.
        generator: what to draw by; PyTorch's own if None.

    Yields:
        n.

    Raises:
        ValueError: the model has not so many layers.

    Example:
        >>> for batch in batches:
        ...     with adapter_drop(model):
        ...         model(**batch).loss.backward()
        ...     optimizer.step()
    """
    layers = model.base.config.layers
    most = layers - 1 if most is None else most
    if type(most) is not int or not 0 <= most <= layers:
        raise ValueError(f"{type(model).__name__} has {layers} layers, so most is 0 to {layers}, not {most!r}")
    dropped = int(torch.randint(most + 1, (), generator=generator))
    with SkipLayers(range(dropped)):
        yield dropped
