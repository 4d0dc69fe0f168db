"""adapterzoo: BERT, RoBERTa and BART in native PyTorch, with adapters built into every layer."""

from adapterzoo.adapter_model import AdapterModel
from adapterzoo.archs import ModelConfig
from adapterzoo.auto import (
    AutoAdapterModel,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForNextSentencePrediction,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from adapterzoo.context import AdapterSetup
from adapterzoo.core.compose import AdapterCompositionBlock, BatchSplit, Stack, parse_composition
from adapterzoo.core.outputs import ModelOutput, MultiHeadOutput
from adapterzoo.heads import PredictionHead
from adapterzoo.methods.base import AdapterConfig
from adapterzoo.methods.bottleneck import (
    AdapterPlusConfig,
    BnConfig,
    DoubleSeqBnConfig,
    ParBnConfig,
    SeqBnConfig,
)
from adapterzoo.methods.lora import LoRAConfig
from adapterzoo.methods.prefix_tuning import PrefixTuningConfig
from adapterzoo.models import Model
from adapterzoo.static import StaticModel
from adapterzoo.zoo import *  # noqa: F403 - made from the registry of architectures; zoo.pyi lists them
from adapterzoo.zoo import __all__ as _zoo

__all__ = [
    *_zoo,
    "AdapterCompositionBlock",
    "AdapterConfig",
    "AdapterModel",
    "AdapterPlusConfig",
    "AdapterSetup",
    "AutoAdapterModel",
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForNextSentencePrediction",
    "AutoModelForPreTraining",
    "AutoModelForQuestionAnswering",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "BatchSplit",
    "BnConfig",
    "DoubleSeqBnConfig",
    "LoRAConfig",
    "Model",
    "ModelConfig",
    "ModelOutput",
    "MultiHeadOutput",
    "ParBnConfig",
    "PredictionHead",
    "PrefixTuningConfig",
    "SeqBnConfig",
    "Stack",
    "StaticModel",
    "parse_composition",
]
