"""Model configs with the names of `config.json`; keys that we do not know survive a round trip."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from adapterzoo.core.registry import listing

Self = TypeVar("Self", bound="ModelConfig")

COMMON: dict[str, Any] = {
    "architectures": None,
    "problem_type": None,
    "tie_word_embeddings": True,
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "decoder_start_token_id": None,
    "output_attentions": False,
    "output_hidden_states": False,
    "use_return_dict": True,
}


class ModelConfig:
    """An architecture's config: its fields as attributes, others in `extra`.

    Subclasses give `defaults` (what `config.json` may leave out when a config is made in Python), `sizes` (positive
    whole numbers that a `config.json` must state) and `attribute_map` (other names of fields).

    Args:
        num_labels: number of labels; makes `id2label`, unless that is given with as many.
        id2label: names of labels by number; the numbers may be strings, as JSON has them.
        fields: any field of the architecture, and any other key.

    Raises:
        ValueError: fields that are out of what they may be; all are listed.
    """

    model_type: ClassVar[str] = ""
    defaults: ClassVar[Mapping[str, Any]] = {}
    sizes: ClassVar[tuple[str, ...]] = ()
    attribute_map: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, *, num_labels: int | None = None, id2label: Mapping[Any, str] | None = None, **fields: Any
    ) -> None:
        given = {self.attribute_map.get(key, key): value for key, value in fields.items() if key != "model_type"}
        known = {**COMMON, **self.defaults}
        values = {**copy.deepcopy(known), **{key: v for key, v in given.items() if key in known}}
        self.__dict__.update(values)
        self.extra = {key: v for key, v in given.items() if key not in known and key not in ("label2id", "return_dict")}
        self.adapters: Any = ()
        self._set_labels(num_labels, id2label)
        self._check()

    def _set_labels(self, num_labels: int | None, id2label: Mapping[Any, str] | None) -> None:
        names = {int(key): name for key, name in (id2label or {}).items()}
        count = num_labels if num_labels is not None else len(names) or self.default_labels()
        if len(names) != count:  # checkpoints whose list was never filled in state only the number
            names = {number: f"LABEL_{number}" for number in range(count)}
        self.id2label = names

    @classmethod
    def default_labels(cls) -> int:
        """How many labels there are if nobody says so."""
        return 2

    def _check(self) -> None:
        wrong = []
        for name in self.sizes:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                wrong.append(f"{name} must be a whole number above 0, not {value!r}")
        for name, default in {**self.defaults}.items():
            value = getattr(self, name)
            if isinstance(default, float) and not (isinstance(value, (int, float)) and not isinstance(value, bool)):
                wrong.append(f"{name} must be a number, not {value!r}")
        if wrong:
            raise ValueError(f"{type(self).__name__}: " + "; ".join(wrong))

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in extra and not name.startswith("_"):
            return extra[name]
        target = self.attribute_map.get(name)
        if target is not None:
            return getattr(self, target)
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "num_labels":
            self._set_labels(value, None)
        else:
            super().__setattr__(self.attribute_map.get(name, name), value)

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return len(self.id2label)

    @property
    def label2id(self) -> dict[str, int]:
        """Labels' numbers by name."""
        return {name: number for number, name in self.id2label.items()}

    def to_dict(self) -> dict[str, Any]:
        """As `config.json` holds it."""
        known = {key: getattr(self, key) for key in {**COMMON, **self.defaults} if key != "use_return_dict"}
        labels = {"id2label": {str(k): v for k, v in self.id2label.items()}, "label2id": self.label2id}
        return {**self.extra, **known, **labels, "model_type": self.model_type}

    @classmethod
    def from_dict(cls: type[Self], data: Mapping[str, Any], source: str = "the config") -> Self:
        """The config of a `config.json`.

        Args:
            data: its content.
            source: what to call it in messages.

        Raises:
            ValueError: it is another architecture's, a size is missing, or a value is out of what it may be.
        """
        if data.get("model_type", cls.model_type) != cls.model_type:
            raise ValueError(f"{source} is of a {data['model_type']!r} model, not of a {cls.model_type!r} one")
        there = {cls.attribute_map.get(key, key) for key in data}
        missing = [name for name in cls.sizes if name not in there]
        if missing:
            raise ValueError(f"{source} lacks {listing(missing)}, which a {cls.model_type} model needs")
        return cls(**{str(key): value for key, value in data.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.to_dict().items())})"


def divisible(width: int, heads: int) -> None:
    """Check that the heads share the width evenly.

    Raises:
        ValueError: they do not.
    """
    if width % heads:
        raise ValueError(f"a hidden size of {width} cannot be divided among {heads} attention heads")
