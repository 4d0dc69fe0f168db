"""Auto classes: the architecture is the one that the checkpoint's config.json names."""

from __future__ import annotations

from typing import Any, ClassVar

from adapterzoo import zoo
from adapterzoo.archs import ARCHITECTURES, Architecture, ModelConfig
from adapterzoo.core.registry import listing
from adapterzoo.hub.fetch import Token, visit
from adapterzoo.pretrained import read_config
from adapterzoo.store import Source


class AutoConfig:
    """The config of a checkpoint, in its architecture's class."""

    @staticmethod
    def from_pretrained(
        source: Source, *, revision: str | None = None, token: Token = None, **changes: Any
    ) -> ModelConfig:
        """The config of a directory or Hub repository; for the arguments see `Model.from_pretrained`.

        Raises:
            FileNotFoundError: there is no config.json.
            ValueError: it is not JSON, lacks fields, or names an architecture that is not here.
        """
        with visit(token):
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
        head_types: the fixed head that the class has, the first of these that there is in an encoder or a whole
            encoder-decoder, else in a decoder alone.
    """

    head_types: ClassVar[tuple[str, ...]] = ()

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
        architecture = ARCHITECTURES[config.model_type]
        name = cls._class_name(architecture)
        if name is None:
            there = [architecture.class_name(static) for static in architecture.statics]
            raise ValueError(f"there is no {cls.__name__} for {config.model_type}; there are {listing(there)}")
        return zoo.CLASSES[name]

    @classmethod
    def _class_name(cls, architecture: Architecture) -> str | None:
        for kind in cls.head_types:
            found = [static for static in architecture.statics if static.head_type == kind]
            if found:
                return architecture.class_name(min(found, key=lambda static: static.decoder_only))
        return None

    @classmethod
    def from_config(cls, config: ModelConfig, **options: Any) -> Any:
        """A model with random weights."""
        return cls.class_for(config).from_config(config, **options)

    @classmethod
    def from_pretrained(cls, source: Source, *, config: ModelConfig | None = None, **options: Any) -> Any:
        """A model with a checkpoint's weights. See `Model.from_pretrained` for the options and errors."""
        with visit(options.get("token")):
            kind = cls.class_for(config or read_config(source, options.get("revision")))
            return kind.from_pretrained(source, config=config, **options)


class AutoModel(AutoBase):
    """The bare model."""

    @classmethod
    def _class_name(cls, architecture: Architecture) -> str | None:
        return architecture.class_name()


class AutoAdapterModel(AutoBase):
    """The model with flexible heads."""

    @classmethod
    def _class_name(cls, architecture: Architecture) -> str | None:
        return f"{architecture.name}AdapterModel"


class AutoModelForSequenceClassification(AutoBase):
    """The model with HF's head for classifying rows."""

    head_types = ("classification",)


class AutoModelForTokenClassification(AutoBase):
    """The model with HF's head for labelling tokens."""

    head_types = ("tagging",)


class AutoModelForQuestionAnswering(AutoBase):
    """The model with HF's head for finding answers."""

    head_types = ("question_answering",)


class AutoModelForMultipleChoice(AutoBase):
    """The model with HF's head for picking a choice."""

    head_types = ("multiple_choice",)


class AutoModelForMaskedLM(AutoBase):
    """The model with HF's head for masked language modelling."""

    head_types = ("masked_lm", "seq2seq_lm")


class AutoModelForCausalLM(AutoBase):
    """The model with HF's head for causal language modelling."""

    head_types = ("causal_lm",)


class AutoModelForSeq2SeqLM(AutoBase):
    """The model with HF's head for sequence-to-sequence language modelling."""

    head_types = ("seq2seq_lm",)


class AutoModelForPreTraining(AutoBase):
    """The model with HF's heads for pretraining."""

    head_types = ("pretraining", "token_detection", "masked_lm", "seq2seq_lm")


class AutoModelForNextSentencePrediction(AutoBase):
    """The model with HF's head for next-sentence prediction."""

    head_types = ("next_sentence",)
