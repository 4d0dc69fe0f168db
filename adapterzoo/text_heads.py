"""Which head answers each of many texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapterzoo.context import current_scope
from adapterzoo.core.registry import unknown
from adapterzoo.head_setup import heads_from_setup
from adapterzoo.headed_model import HeadedModel
from adapterzoo.heads.base import PredictionHead
from adapterzoo.heads.classification import MultipleChoiceHead
from adapterzoo.heads.lm import LMHead
from adapterzoo.heads.similarity import SimilarityHead
from adapterzoo.models import Model
from adapterzoo.static import StaticModel

Names = Sequence[str | None]
"""An adapter's name for each text; None: the bare model."""


def answering_heads(model: Model, head: str | None, names: Names | None, count: int) -> list[str | None]:
    """The name of each text's head, by the priority that a call of the model has; None: it has none.

    Args:
        model: the model.
        head: the head that was asked for, if any.
        names: each text's adapter, if these were given.
        count: how many texts there are.

    Raises:
        UnknownName: there is no such head.
        ValueError: several heads are active at once.
    """
    if not isinstance(model, HeadedModel):
        if head is not None:
            raise ValueError(f"{type(model).__name__} has no named heads; an AdapterModel class does")
        return ["default" if isinstance(model, StaticModel) else None] * count
    if head is not None:
        model.heads[head]  # for the error
        return [head] * count
    scope = current_scope()
    scoped = None
    if scope is not None:
        scoped = scope.heads or (heads_from_setup(scope.adapters, model.heads) if names is None else None)
    default = scoped or model.active_head
    if default is not None and not isinstance(default, str):
        raise ValueError(f"the active heads are {default!r}: name one by head=, for each text has one answer")
    return [name if name is not None and name in model.heads else default for name in names or [None] * count]


def embedding_heads(model: Model, head: str | None, names: Names | None, count: int) -> list[str | None]:
    """Each text's similarity head; None: it has none. Arguments as for `answering_heads`.

    Raises:
        UnknownName: there is no such head.
        ValueError: the head is for something else, or only some texts have one.
    """
    heads: dict[str, Any] = dict(model.heads_of())
    own = any(isinstance(heads.get(name), SimilarityHead) for name in names or () if name is not None)
    found = answering_heads(model, head, names if own else None, count)
    if head is not None and not isinstance(heads[head], SimilarityHead):
        kinds = [name for name, module in heads.items() if isinstance(module, SimilarityHead)]
        raise ValueError(unknown("similarity head named", head, kinds))
    found = [name if name is not None and isinstance(heads[name], SimilarityHead) else None for name in found]
    if len({name is None for name in found}) > 1:
        raise ValueError("some texts have a similarity head and some have none: give pooling= or head=")
    widths = {name: heads[name].config["embedding_size"] for name in found if name is not None}
    if len(set(widths.values())) > 1:
        raise ValueError(f"the heads' embeddings differ in size: {widths}; name one head by head=")
    return found


def module_of(model: Model, name: str | None) -> PredictionHead:
    """A head that can answer texts one by one.

    Raises:
        ValueError: there is none, or it cannot.
    """
    kind = type(model).__name__
    if name is None:
        raise ValueError(
            f"{kind} has no active head for every text: name one by head=, or set active_head; encode() makes "
            f"embeddings without (heads: {', '.join(model.heads_of()) or 'none'})"
        )
    head = model.heads_of()[name]
    assert isinstance(head, PredictionHead)
    if isinstance(head, LMHead) and head.generates:
        raise ValueError(f"head {name!r} goes on with texts: use model.generate(**tokenizer(…)), not predict()")
    if isinstance(head, MultipleChoiceHead) or head.needs:
        what = " and ".join(head.needs) or "the choices of a question together"
        raise ValueError(f"head {name!r} ({head.head_type}) needs {what}: call the model itself")
    return head
