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
from adapterzoo.core.compose import AdapterCompositionBlock, BatchSplit, Parallel, Stack, parse_composition
from adapterzoo.core.outputs import ModelOutput, MultiHeadOutput
from adapterzoo.core.registry import UnknownName
from adapterzoo.generation import GenerateOutput, GenerationConfig
from adapterzoo.heads import PredictionHead
from adapterzoo.heads.classification import ClassificationHead, MultiLabelClassificationHead, MultipleChoiceHead
from adapterzoo.heads.dependency import BiaffineParsingHead
from adapterzoo.heads.lm import BertStyleMaskedLMHead, CausalLMHead, Seq2SeqLMHead
from adapterzoo.heads.similarity import SimilarityHead
from adapterzoo.heads.token import QuestionAnsweringHead, TaggingHead
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
from adapterzoo.pretrained import CheckpointError
from adapterzoo.static import StaticModel
from adapterzoo.store import FileError
from adapterzoo.tokenizer import BatchEncoding, Tokenizer
from adapterzoo.tokenizer import Tokenizer as AutoTokenizer
from adapterzoo.version import __version__
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
    "AutoTokenizer",
    "BatchEncoding",
    "BatchSplit",
    "BertStyleMaskedLMHead",
    "BiaffineParsingHead",
    "BnConfig",
    "CausalLMHead",
    "CheckpointError",
    "ClassificationHead",
    "DoubleSeqBnConfig",
    "FileError",
    "GenerateOutput",
    "GenerationConfig",
    "LoRAConfig",
    "Model",
    "ModelConfig",
    "Parallel",
    "ModelOutput",
    "MultiHeadOutput",
    "MultiLabelClassificationHead",
    "MultipleChoiceHead",
    "ParBnConfig",
    "PredictionHead",
    "PrefixTuningConfig",
    "QuestionAnsweringHead",
    "Seq2SeqLMHead",
    "SeqBnConfig",
    "SimilarityHead",
    "Stack",
    "StaticModel",
    "TaggingHead",
    "Tokenizer",
    "UnknownName",
    "__version__",
    "parse_composition",
]
