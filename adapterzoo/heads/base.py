"""The contract of a prediction head, and the body that most heads have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from adapterzoo.core.labels import by_number, label_names
from adapterzoo.core.registry import Registry
from adapterzoo.nn.activations import activation
from adapterzoo.nn.transformer import Transformer

HEADS: Registry[type[PredictionHead]] = Registry("head type")
"""The built-in heads by type."""


class HeadHost(Protocol):
    """What a head may ask of the model that it is made for."""

    @property
    def config(self) -> Any:
        """The model's config."""

    @property
    def base(self) -> Transformer:
        """The network."""

    @property
    def head_types(self) -> Mapping[str, type[PredictionHead]]:
        """The heads that it may have, by type."""


class Activation(nn.Module):
    """An activation function as a layer.

    Args:
        name: see `adapterzoo.nn.activations`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = activation(name)

    def forward(self, x: Tensor) -> Tensor:
        """f(x)."""
        return self.function(x)


class PredictionHead(nn.Sequential):
    """Base of all heads.

    A custom head needs `__init__(self, model, head_name, **kwargs)`, which calls `super().__init__(head_name)` and puts
    what it was given into `self.config` (that is what is saved), and
    `forward(self, outputs, cls_output=None, attention_mask=None, return_dict=False, **kwargs)`. `outputs` reads as the
    bare model's output (`outputs[0]` are the last hidden states), `cls_output` is each row's classification vector
    (None where rows have none), `kwargs` are the labels and whatever else the model was called with.
    `super().forward(x)` runs the layers that `build` made.

    Args:
        head_name: the name under which the model keeps it.

    Attributes:
        head_type: what files call the kind.
        reads_cls: whether `cls_output` must be there; None: if it can be had.
        labels_are_inputs: whether the decoder's input, if not given, is the labels shifted by one.
        needs: arguments of a call that it cannot do without.
    """

    head_type: ClassVar[str] = "custom"
    reads_cls: ClassVar[bool | None] = None
    labels_are_inputs: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, head_name: str) -> None:
        super().__init__()
        self.name = head_name
        self.config: dict[str, Any] = {}

    def build(self, model: HeadHost) -> None:
        """Make the layers from `self.config`: `layers` times dropout and linear, an activation between them.

        Linear layers lie at 1, 4, … with an activation and at 1, 3, … without, as AdapterHub's files number them.
        """
        config, width = self.config, model.base.config.width
        chance = head_dropout(config, model.config)
        modules: list[nn.Module] = []
        for number in range(config["layers"]):
            last = number == config["layers"] - 1
            outputs = config.get("num_labels", 1) if last else width
            if last and "num_choices" in config:
                outputs = 1
            modules += [
                nn.Dropout(chance if number else config.get("input_dropout", chance)),
                nn.Linear(width, outputs, bias=config.get("bias", True) or not last),
            ]
            if not last and config.get("activation_function"):
                modules.append(Activation(config["activation_function"]))
        for module in modules:
            self.append(module)
        initialise(self, model.base.config.init_std)

    def tie(self, model: HeadHost) -> None:
        """Share weights with the model's embeddings, in heads that do."""

    def follow(self, model: HeadHost, biases: Mapping[str, Tensor]) -> None:
        """Go on with another token embedding, in heads that share its weight.

        Args:
            model: the model, which has it already.
            biases: what to have for its vocabulary, under the names of `biases`.
        """
        self.tie(model)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The layers one after the other; heads override it."""
        return super().forward(*args)  # type: ignore[no-untyped-call]

    def get_labels(self) -> list[str] | None:
        """Names of the labels in order; None where there are none."""
        names = self.id2label()
        return None if names is None else [names[number] for number in sorted(names)]

    def id2label(self) -> dict[int, str] | None:
        """Names of the labels by number; None where there are none."""
        label2id = self.config.get("label2id")
        return None if label2id is None else label_names(by_number(label2id))

    @property
    def reads_pooler(self) -> bool:
        """Whether `cls_output` is the pooler's output, in place of the classification token's hidden state."""
        return bool(self.config.get("use_pooler"))

    @property
    def tied(self) -> set[str]:
        """Names of parameters that belong to the model's embeddings."""
        return set()

    @property
    def biases(self) -> dict[str, Tensor]:
        """Its own parameters and buffers that have a number for each token, along the last dimension."""
        return {}


def head_dropout(settings: Mapping[str, Any], config: Any) -> float:
    """The chance of dropout in a head: its own, else the classifier's, else the model's."""
    for value in (
        settings.get("dropout_prob"),
        getattr(config, "classifier_dropout", None),
        getattr(config, "hidden_dropout_prob", None),
    ):
        if value is not None:
            return float(value)
    return 0.0


def initialise(module: nn.Module, std: float) -> None:
    """Normal weights with deviation `std`, biases 0, LayerNorms the identity; embeddings' padding rows 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def given(**settings: Any) -> dict[str, Any]:
    """Settings that are not None: those that AdapterHub's files do not know stay out of them if nobody uses them."""
    return {key: value for key, value in settings.items() if value is not None}


def labels_config(num_labels: int, id2label: Mapping[Any, str] | None) -> dict[str, Any]:
    """The entries of a head's config that name its labels.

    Raises:
        ValueError: there are not as many names as labels.
    """
    names = label_names(id2label or {number: f"LABEL_{number}" for number in range(num_labels)})
    if len(names) != num_labels:
        raise ValueError(f"there are {num_labels} labels, but id2label names {len(names)}")
    return {"num_labels": num_labels, "label2id": {name: number for number, name in names.items()}}
