"""Batches of texts through a model: to one vector a text, or to what heads put out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from adapterzoo import forward
from adapterzoo.core.outputs import MultiHeadOutput
from adapterzoo.heads.similarity import POOLINGS
from adapterzoo.inputs import Inputs
from adapterzoo.models import Model
from adapterzoo.progress import watched
from adapterzoo.routing import route
from adapterzoo.static import StaticModel
from adapterzoo.text_heads import Names
from adapterzoo.texts import Batch, Texts

MAX_TOKENS = {"cpu": 2048, "cuda": 32768}
"""Tokens of a batch. On CPUs what a layer makes of many more does not fit into the cache: see docs/throughput.md."""


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Evaluation mode, without a graph; after that every part is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def batches(
    model: Model, texts: Texts, names: Names | None, max_tokens: int | None, show: bool | None
) -> Iterator[Batch]:
    """The batches of texts on a model's device, with a bar that moves as they are done.

    Args:
        model: the model.
        texts: the texts.
        names: each one's adapter, if these were given.
        max_tokens: tokens of a batch; MAX_TOKENS if None.
        show: whether to show the bar; None: if stderr is a terminal.

    Raises:
        ValueError: `max_tokens` is no number of tokens, or what is active answers a text more than once.
    """
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise ValueError(f"max_tokens must be an integer of at least 1, not {max_tokens!r}")
    if names is None:
        plan = route(model.adapters, model.base, None, None, 1, model.heads_of()).plan
        if plan.copies > 1:
            raise ValueError(
                f"{plan.setup!r} answers each text {plan.copies} times: activate one adapter after another"
            )
    device = model.device
    budget = max_tokens or MAX_TOKENS.get(device.type, MAX_TOKENS["cuda"])
    hidden = not (watched() if show is None else show)
    with tqdm(total=len(texts), unit=" texts", disable=hidden) as bar:
        for batch in texts.batches(budget):
            yield batch.to(device)
            bar.update(len(batch.rows))


def embedded(model: Model, batch: Batch, heads: Sequence[str | None], names: Names | None, pooling: str) -> Tensor:
    """One vector for each row, (B, D).

    Args:
        model: the model.
        batch: the rows.
        heads: each row's similarity head; all None: heads have no part in it.
        names: each row's adapter, if these were given.
        pooling: how, by its name, where there are no heads.
    """
    if heads[0] is None:
        return _pooled(model, batch, names, pooling)
    found = list(outputs(model, batch, heads, names))
    order = torch.tensor([row for _, rows, _ in found for row in rows])
    vectors = torch.cat([output["embeddings"] for _, _, output in found])
    return vectors.index_select(0, order.argsort().to(vectors.device))


def _pooled(model: Model, batch: Batch, names: Names | None, pooling: str) -> Tensor:
    inputs = Inputs(**batch.inputs)
    plan, order, groups = route(model.adapters, model.base, names, None, inputs.rows, model.heads_of())
    if order is None:
        return POOLINGS[pooling](forward.encode(model, inputs, plan, groups))
    ordered = torch.tensor(order)
    found = POOLINGS[pooling](forward.encode(model, inputs.picked(ordered), plan, groups))
    return found.index_select(0, ordered.argsort().to(found.device))


def outputs(
    model: Model, batch: Batch, heads: Sequence[str | None], names: Names | None
) -> Iterator[tuple[str | None, list[int], Any]]:
    """What heads put out: each head's name, the numbers of its rows in the batch, and its output for these.

    Args:
        model: the model.
        batch: the rows.
        heads: each row's head.
        names: each row's adapter, if these were given.
    """
    different = set(heads)
    one = {"head": heads[0]} if len(different) == 1 and not isinstance(model, StaticModel) else {}
    output = model(**batch.inputs, adapter_names=names, return_dict=True, **one)
    if isinstance(output, MultiHeadOutput):
        for rows, answer in zip(output.rows, output.head_outputs, strict=True):
            yield heads[rows[0]], list(rows), answer
    else:
        yield heads[0], list(range(len(heads))), output
