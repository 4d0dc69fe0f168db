"""What an `adapter_config.json` of PEFT's says, read field by field; all that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from adapterzoo.core.fields import Rule, fits, too_large, words

T = TypeVar("T")

SILENT = (
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "modules_to_save", "fan_in_fan_out", "runtime_config", "ensure_weight_tying"),
)
"""Fields that change nothing about what an adapter computes, or that others read."""

NEUTRAL: tuple[Any, ...] = (None, False, "", [], {}, 0)
"""Values of fields that are not known here with which these may be passed over."""

WHY = {
    "bias": "it has changed biases of the model itself; peft's merge_and_unload() makes a model of both",
    "lora_bias": "B has no bias here",
    "target_parameters": "it acts on parameters without a module of their own",
    "layer_replication": "it changes which layers the model has",
    "trainable_token_indices": "it has changed rows of the model's token embedding",
    "alora_invocation_tokens": "it acts from certain tokens on",
}
"""Why a field's value cannot be had."""


class Fields:
    """The fields of a config, and what is wrong with them.

    Args:
        content: the file's content.

    Attributes:
        problems: what was found to be wrong so far.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content, self.problems = content, list[str]()
        self._known = set(SILENT)

    def get(self, name: str, kind: Any, otherwise: T, rule: Rule | None = None) -> T:
        """A field's value; `otherwise` where there is none, or where it is wrong, which is kept for the end."""
        self._known.add(name)
        value = self.content.get(name)
        if value is None:
            return otherwise
        if not fits(value, kind):
            self.problems.append(f"its {name} must be {words(kind)}, not {value!r}")
        elif rule is not None and not rule.holds(value):
            self.problems.append(f"its {name} must be {rule.text}, not {value!r}")
        elif rule is not None and too_large(value, rule):
            self.problems.append(f"its {name} must be {rule.most:,} at most, not {value!r}")
        else:
            return value  # type: ignore[no-any-return]  # of that kind, as was just checked
        return otherwise

    def only(self, name: str, value: Any) -> None:
        """Note it if a field has another value than the one that there is here."""
        self._known.add(name)
        given = self.content.get(name)
        if given is not None and given != value:
            why = WHY.get(name, "there is no such thing here")
            self.problems.append(f"its {name} is {given!r}, not {value!r}: {why}")

    def ignore(self, *names: str) -> None:
        """Pass fields over that only say how training began or went."""
        self._known.update(names)

    def made(self, make: Callable[[], T]) -> T:
        """What `make` gives, unless something is wrong.

        Raises:
            ValueError: something is; all is told.
        """
        for name, value in self.content.items():
            if name not in self._known and value not in NEUTRAL:
                self.problems.append(f"its {name} is {value!r}: {WHY.get(name, 'there is no such thing here')}")
        made: list[T] = []
        if not self.problems:
            try:
                made.append(make())
            except ValueError as error:
                self.problems.append(str(error))
        if self.problems:
            raise ValueError("the PEFT adapter's config does not fit: " + "; ".join(self.problems))
        return made[0]
