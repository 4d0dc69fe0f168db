"""The heads beside PEFT's adapters: modules that were trained as a whole, under HF's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from adapterzoo.archs.base import LABELLED, Architecture, StaticHead
from adapterzoo.core.registry import listing
from adapterzoo.formats.peft.adapter import PROMPT_STEM, STEM
from adapterzoo.formats.peft.config import base_class, kind_of

TASKS = {
    "classification": "SEQ_CLS",
    "multilabel_classification": "SEQ_CLS",
    "tagging": "TOKEN_CLS",
    "question_answering": "QUESTION_ANS",
    "seq2seq_lm": "SEQ_2_SEQ_LM",
    "causal_lm": "CAUSAL_LM",
}
"""PEFT's `task_type` by the type of the head."""


def head_of(
    content: Mapping[str, Any], tensors: Iterable[str], architecture: Architecture, own: StaticHead | None
) -> StaticHead | None:
    """The class with a fixed head whose head's tensors these are; None if there are none.

    Args:
        content: what `adapter_config.json` holds.
        tensors: HF's names of the tensors beside the adapter's.
        architecture: of the model.
        own: the model's own fixed head, which is preferred to others with the same tensors.

    Raises:
        ValueError: no class has such tensors, or several have and the config does not say which it is.
    """
    tensors = list(tensors)
    if not tensors:
        return None
    kinds = [kind for static in architecture.statics for kind in (static, *static.unless.values())]
    lost = [key for key in tensors if all(kind.keymap.to_ours(key) is None for kind in kinds)]
    if lost:
        raise ValueError(
            f"the PEFT adapter does not fit: {', '.join(f'{key} has no place here' for key in sorted(lost))}"
        )
    fitting = [kind for kind in kinds if all(map(kind.keymap.to_ours, tensors))]
    named = architecture.static(base_class(content))
    task = content.get("task_type")
    of_name = [kind for kind in fitting if named is not None and kind in (named, *named.unless.values())]
    of_task = [kind for kind in fitting if task is not None and TASKS.get(kind.head_type) == task]
    for likely in (of_name, of_task, [kind for kind in fitting if kind is own]):
        if likely:
            return likely[0]
    if len(fitting) == 1:
        return fitting[0]
    names = listing(map(architecture.class_name, fitting))
    raise ValueError(f"the head beside the adapter may be that of {names}; its config says neither a class nor a task")


def label_count(static: StaticHead, tensors: Mapping[str, Tensor]) -> int | None:
    """How many labels a head's tensors have; None where that is no number of labels."""
    weight = tensors.get(static.rows[-1].parts[0].replace("{p}", "weight"))
    counts = static.head_type in LABELLED and static.head_type != "multiple_choice"
    return int(weight.size(0)) if counts and weight is not None and weight.dim() == 2 else None


def write_head(
    static: StaticHead, head: nn.Module, peft_type: str, architecture: Architecture
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A head's tensors under PEFT's names, and what the config says of it.

    Args:
        static: the class that has it.
        head: the head.
        peft_type: PEFT's name of the adapter's method.
        architecture: of the class.

    Raises:
        ValueError: a tensor of it lies in no module, so that PEFT cannot keep it.
    """
    tensors: dict[str, Tensor] = {}
    for key, tensor in head.state_dict().items():
        names = [*(static.keymap.to_theirs(key) or ()), *static.keymap.aliases(key)]
        loose = [name for name in names if "." not in name]
        if loose and bool(tensor.any()):
            raise ValueError(
                f"PEFT keeps modules, but {', '.join(loose)} is none; save without the head: with_head=False"
            )
        tensors |= {name: tensor.clone() for name in names if name not in loose}
    stem = PROMPT_STEM if kind_of({"peft_type": peft_type}).is_prompt else STEM
    base = [architecture.stem + part for row in architecture.keymap.rows for part in row.parts]
    modules = sorted({_own_module(name, base) for name in tensors})
    said = {"task_type": TASKS.get(static.head_type), "modules_to_save": modules}
    return {stem + name: tensor for name, tensor in tensors.items()}, said


def _own_module(name: str, base: list[str]) -> str:
    """The largest module that a head's tensor lies in and none of the base's does."""
    parts = name.split(".")
    above = (".".join(parts[:count]) for count in range(1, len(parts)))
    return next(module for module in above if not any(one.startswith(f"{module}.") for one in base))
