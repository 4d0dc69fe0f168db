"""Model configs with the names of `config.json`; keys that we do not know survive a round trip."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from adapterzoo.core.fields import NATURAL, SIZE, Rule, one_of, wrong_fields
from adapterzoo.core.labels import LABELS, by_number, label_names
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
    "return_dict": True,
}

OPTIONAL: dict[str, Any] = {
    "architectures": list[str] | None,
    "problem_type": str | None,
    "classifier_dropout": float | None,
}
"""The types of fields that may be None."""

COMMON_RULES = {
    "pad_token_id": NATURAL,
    "problem_type": one_of(None, "regression", "single_label_classification", "multi_label_classification"),
}


class ModelConfig:
    """An architecture's config: its fields as attributes, others in `extra`.

    Subclasses give `defaults` (what `config.json` may leave out when a config is made in Python), `unlisted` (the same
    for fields that HF's configs do not list: `config.json` holds them only if they were given), `kinds` (the types of
    fields whose defaults do not tell them), `sizes` (positive whole numbers that a `config.json` must state), `rules`
    (what else values must be), `shared_among` (widths, and by what they must be divisible) and `attribute_map` (other
    names of fields).

    Args:
        num_labels: number of labels; makes `id2label`, unless that is given with as many.
        id2label: names of labels by number; the numbers may be strings, as JSON has them.
        label2id: the same the other way round; read where `id2label` is not given.
        fields: any field of the architecture, and any other key.

    Raises:
        ValueError: fields that are out of what they may be; all are listed.
    """

    model_type: ClassVar[str] = ""
    defaults: ClassVar[Mapping[str, Any]] = {}
    unlisted: ClassVar[Mapping[str, Any]] = {}
    kinds: ClassVar[Mapping[str, Any]] = {}
    sizes: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[Mapping[str, Rule]] = {}
    shared_among: ClassVar[tuple[tuple[str, str], ...]] = ()
    attribute_map: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        /,
        *,
        num_labels: int | None = None,
        id2label: Mapping[Any, str] | None = None,
        label2id: Mapping[str, int] | None = None,
        **fields: Any,
    ) -> None:
        fields.pop("model_type", None)
        given = {self.attribute_map[key]: value for key, value in fields.items() if key in self.attribute_map}
        given |= {key: value for key, value in fields.items() if key not in self.attribute_map}
        known = {**COMMON, **self.defaults}
        values = {**copy.deepcopy(known), **{key: v for key, v in given.items() if key in known}}
        self.__dict__.update(values)
        self.extra = {key: v for key, v in given.items() if key not in known}
        self.adapters: Any = ()
        self._set_labels(num_labels, id2label or (by_number(label2id) if label2id else None))
        self.check()

    def _set_labels(self, num_labels: int | None, id2label: Mapping[Any, str] | None) -> None:
        given = label_names(id2label) if id2label else {}
        count = num_labels if num_labels is not None else len(given) or self.default_labels()
        wrong = list(wrong_fields({"num_labels": count}, {"num_labels": int}, {"num_labels": LABELS}))
        if wrong:
            raise ValueError(f"{type(self).__name__}: {wrong[0]}")
        names = given or {number: f"LABEL_{number}" for number in range(count)}
        if len(names) != count:
            raise ValueError(f"{type(self).__name__}: num_labels is {count}, but id2label names {len(names)} labels")
        self.id2label = names

    @classmethod
    def default_labels(cls) -> int:
        """How many labels there are if nobody says so."""
        return 2

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all fields, other names of the same ones included."""
        return (*COMMON, *cls.defaults, *cls.unlisted, *cls.attribute_map, "num_labels", "id2label", "label2id")

    def check(self) -> None:
        """Check the fields; a model does so once more, for they can be set.

        Raises:
            ValueError: some are out of what they may be; all are listed.
        """
        values = {name: getattr(self, name) for name in {**COMMON, **self.defaults, **self.unlisted}}
        rules = {**dict.fromkeys(self.sizes, SIZE), **COMMON_RULES, **self.rules}
        wrong = list(wrong_fields(values, {name: self._kind(name) for name in values}, rules)) or list(self._at_odds())
        if wrong:
            raise ValueError(f"{type(self).__name__}: " + "; ".join(wrong))

    def _kind(self, name: str) -> Any:
        """A field's type: its default's, but for those that may be None."""
        if name in self.kinds or name in OPTIONAL:
            return self.kinds.get(name, OPTIONAL.get(name))
        if name.endswith("_token_id") and name != "pad_token_id":
            return int | None
        return type({**COMMON, **self.defaults, **self.unlisted}[name])

    def _at_odds(self) -> Iterator[str]:
        """What is wrong with values that are right by themselves."""
        for width, heads in self.shared_among:
            if getattr(self, width) % getattr(self, heads):
                sizes = getattr(self, width), getattr(self, heads)
                yield f"{width} must be divisible by {heads}, but {sizes[0]} is not by {sizes[1]}"
        if self.pad_token_id >= self.vocab_size:
            yield f"pad_token_id must be below vocab_size, {self.vocab_size}, not {self.pad_token_id}"

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in extra and not name.startswith("_"):
            return extra[name]
        target = self.attribute_map.get(name)
        if target is not None:
            return getattr(self, target)
        if name in self.unlisted:
            return self.unlisted[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "num_labels":
            self._set_labels(value, None)
        elif name in self.unlisted:
            self.extra[name] = value
        else:
            super().__setattr__(self.attribute_map.get(name, name), value)

    @property
    def ties_words(self) -> bool:
        """Whether language models' heads share the token embedding's weight."""
        return bool(self.tie_word_embeddings)

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
        known = {key: getattr(self, key) for key in {**COMMON, **self.defaults}}
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
        names, count = data.get("id2label"), data.get("num_labels")
        if count is not None and isinstance(names, Mapping) and len(names) != count:
            data = {
                **data,
                "id2label": None,
                "label2id": None,
            }  # a list that was never filled in; only the number counts
        try:
            return cls(**{str(key): value for key, value in data.items()})
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.to_dict().items())})"
