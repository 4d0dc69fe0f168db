"""Auto classes: the architecture is the one that the checkpoint's config.json names."""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES, ModelConfig
from adapterzoo.core.registry import unknown
from adapterzoo.pretrained import read_config
from adapterzoo.store import Source


class AutoConfig:
    """The config of a checkpoint, in its architecture's class."""

    @staticmethod
    def from_pretrained(source: Source, *, revision: str | None = None, **changes: Any) -> ModelConfig:
        """The config of a directory or Hub repository.

        Raises:
            FileNotFoundError: there is no config.json.
            ValueError: it is not JSON, lacks fields, or names an architecture that is not here.
        """
        return read_config(source, revision, **changes)

    @staticmethod
    def for_model(model_type: str, **fields: Any) -> ModelConfig:
        """A new config of an architecture.

        Raises:
            UnknownName: there is no such architecture.
        """
        return ARCHITECTURES[model_type].config(**fields)


class AutoBase:
    """Base of the Auto classes: from a config or a checkpoint to the class of its architecture.

    Attributes:
        suffixes: what may follow the architecture's name in the class's, the first that there is.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        raise TypeError(f"make a model with {type(self).__name__}.from_pretrained(…) or .from_config(…)")

    @classmethod
    def class_for(cls, config: ModelConfig) -> Any:
        """The model class for a config.

        Raises:
            TypeError: it is no config.
            ValueError: the architecture has no such class.
        """
        if not isinstance(config, ModelConfig):
            raise TypeError(f"{cls.__name__} needs a config such as BertConfig(…), not {config!r}")
        name = ARCHITECTURES[config.model_type].name
        for suffix in cls.suffixes:
            if name + suffix in zoo.CLASSES:
                return zoo.CLASSES[name + suffix]
        there = [kind for kind in zoo.CLASSES if kind.startswith(name)]
        raise ValueError(
            unknown(f"{cls.__name__} for {config.model_type}, that is class", name + cls.suffixes[0], there)
        )

    @classmethod
    def from_config(cls, config: ModelConfig, **options: Any) -> Any:
        """A model with random weights."""
        return cls.class_for(config).from_config(config, **options)

    @classmethod
    def from_pretrained(cls, source: Source, *, config: ModelConfig | None = None, **options: Any) -> Any:
        """A model with a checkpoint's weights. See `Model.from_pretrained` for the options and errors."""
        revision = options.get("revision")
        kind = cls.class_for(config or read_config(source, revision))
        return kind.from_pretrained(source, config=config, **options)


class AutoModel(AutoBase):
    """The bare model."""

    suffixes = ("Model",)


class AutoAdapterModel(AutoBase):
    """The model with flexible heads."""

    suffixes = ("AdapterModel",)


class AutoModelForSequenceClassification(AutoBase):
    """The model with HF's head for classifying rows."""

    suffixes = ("ForSequenceClassification",)


class AutoModelForTokenClassification(AutoBase):
    """The model with HF's head for labelling tokens."""

    suffixes = ("ForTokenClassification",)


class AutoModelForQuestionAnswering(AutoBase):
    """The model with HF's head for finding answers."""

    suffixes = ("ForQuestionAnswering",)


class AutoModelForMultipleChoice(AutoBase):
    """The model with HF's head for picking a choice."""

    suffixes = ("ForMultipleChoice",)


class AutoModelForMaskedLM(AutoBase):
    """The model with HF's head for masked language modelling."""

    suffixes = ("ForMaskedLM", "ForConditionalGeneration")


class AutoModelForCausalLM(AutoBase):
    """The model with HF's head for causal language modelling."""

    suffixes = ("ForCausalLM", "LMHeadModel")


class AutoModelForSeq2SeqLM(AutoBase):
    """The model with HF's head for sequence-to-sequence language modelling."""

    suffixes = ("ForConditionalGeneration",)


class AutoModelForPreTraining(AutoBase):
    """The model with HF's heads for pretraining."""

    suffixes = ("ForPreTraining", "ForMaskedLM", "ForConditionalGeneration")


class AutoModelForNextSentencePrediction(AutoBase):
    """The model with HF's head for next-sentence prediction."""

    suffixes = ("ForNextSentencePrediction",)
