"""adapterzoo: BERT, RoBERTa and BART in native PyTorch, with adapters built into every layer."""

from adapterzoo.core.collecting import paused

with paused():
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
    from adapterzoo.composition import validate_composition
    from adapterzoo.context import AdapterSetup
    from adapterzoo.core.compose import (
        AdapterCompositionBlock,
        Average,
        BatchSplit,
        Fuse,
        MultiTask,
        Parallel,
        Split,
        Stack,
        parse_composition,
    )
    from adapterzoo.core.cpu import is_fast_on_cpu
    from adapterzoo.core.outputs import DependencyParsingOutput, ModelOutput, MultiHeadOutput
    from adapterzoo.core.registry import UnknownName
    from adapterzoo.dropping import adapter_drop
    from adapterzoo.exporting import export, export_onnx
    from adapterzoo.fusion.config import DEFAULT as DEFAULT_ADAPTERFUSION_CONFIG
    from adapterzoo.fusion.config import FUSIONS as ADAPTERFUSION_CONFIG_MAP
    from adapterzoo.fusion.config import AdapterFusionConfig, DynamicAdapterFusionConfig, StaticAdapterFusionConfig
    from adapterzoo.generation import GenerateOutput, GenerationConfig
    from adapterzoo.heads import PredictionHead
    from adapterzoo.heads.classification import ClassificationHead, MultiLabelClassificationHead, MultipleChoiceHead
    from adapterzoo.heads.dependency import BiaffineParsingHead
    from adapterzoo.heads.lm import BertStyleMaskedLMHead, CausalLMHead, Seq2SeqLMHead
    from adapterzoo.heads.similarity import SimilarityHead
    from adapterzoo.heads.token import QuestionAnsweringHead, TaggingHead
    from adapterzoo.hub.listing import AdapterInfo, get_adapter_info, list_adapters
    from adapterzoo.methods.base import DEFAULT as DEFAULT_ADAPTER_CONFIG
    from adapterzoo.methods.base import PRESETS as ADAPTER_CONFIG_MAP
    from adapterzoo.methods.base import AdapterConfig
    from adapterzoo.methods.bitfit import BitFitConfig
    from adapterzoo.methods.bottleneck import (
        AdapterPlusConfig,
        BnConfig,
        DoubleSeqBnConfig,
        ParBnConfig,
        SeqBnConfig,
    )
    from adapterzoo.methods.compacter import CompacterConfig, CompacterPlusPlusConfig
    from adapterzoo.methods.config_id import get_adapter_config_hash
    from adapterzoo.methods.dora import DoRAConfig
    from adapterzoo.methods.ia3 import IA3Config
    from adapterzoo.methods.invertible import DoubleSeqBnInvConfig, SeqBnInvConfig
    from adapterzoo.methods.ln_tuning import LNTuningConfig
    from adapterzoo.methods.lora_config import LoRAConfig
    from adapterzoo.methods.mtl_lora import MTLLoRAConfig, MultiTaskConfig
    from adapterzoo.methods.prefix_tuning import PrefixTuningConfig
    from adapterzoo.methods.prompt_tuning import PromptTuningConfig
    from adapterzoo.methods.reft import DiReftConfig, LoReftConfig, NoReftConfig, ReftConfig
    from adapterzoo.methods.union import ConfigUnion, MAMConfig, UniPELTConfig
    from adapterzoo.methods.vera import DvoRAConfig, VeraConfig
    from adapterzoo.models import Model
    from adapterzoo.pretrained import CheckpointError
    from adapterzoo.static import StaticModel
    from adapterzoo.store import FileError
    from adapterzoo.throughput import encode, predict
    from adapterzoo.tokenizer import BatchEncoding, Tokenizer
    from adapterzoo.tokenizer import Tokenizer as AutoTokenizer
    from adapterzoo.training import AdapterArguments, setup_adapter_training
    from adapterzoo.version import __version__
    from adapterzoo.zoo import *  # noqa: F403 - made from the registry of architectures; zoo.pyi lists them
    from adapterzoo.zoo import __all__ as _zoo

__all__ = [
    *_zoo,
    "ADAPTERFUSION_CONFIG_MAP",
    "ADAPTER_CONFIG_MAP",
    "AdapterArguments",
    "AdapterCompositionBlock",
    "AdapterConfig",
    "AdapterFusionConfig",
    "AdapterInfo",
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
    "Average",
    "BatchEncoding",
    "BatchSplit",
    "BertStyleMaskedLMHead",
    "BiaffineParsingHead",
    "BitFitConfig",
    "BnConfig",
    "CausalLMHead",
    "CheckpointError",
    "ClassificationHead",
    "CompacterConfig",
    "CompacterPlusPlusConfig",
    "ConfigUnion",
    "DEFAULT_ADAPTERFUSION_CONFIG",
    "DEFAULT_ADAPTER_CONFIG",
    "DependencyParsingOutput",
    "DiReftConfig",
    "DoRAConfig",
    "DoubleSeqBnConfig",
    "DoubleSeqBnInvConfig",
    "DvoRAConfig",
    "DynamicAdapterFusionConfig",
    "FileError",
    "Fuse",
    "GenerateOutput",
    "GenerationConfig",
    "IA3Config",
    "LNTuningConfig",
    "LoRAConfig",
    "LoReftConfig",
    "MAMConfig",
    "MTLLoRAConfig",
    "Model",
    "ModelConfig",
    "ModelOutput",
    "MultiHeadOutput",
    "MultiLabelClassificationHead",
    "MultiTask",
    "MultiTaskConfig",
    "MultipleChoiceHead",
    "NoReftConfig",
    "ParBnConfig",
    "Parallel",
    "PredictionHead",
    "PrefixTuningConfig",
    "PromptTuningConfig",
    "QuestionAnsweringHead",
    "ReftConfig",
    "Seq2SeqLMHead",
    "SeqBnConfig",
    "SeqBnInvConfig",
    "SimilarityHead",
    "Split",
    "Stack",
    "StaticAdapterFusionConfig",
    "StaticModel",
    "TaggingHead",
    "Tokenizer",
    "UniPELTConfig",
    "UnknownName",
    "VeraConfig",
    "__version__",
    "adapter_drop",
    "export",
    "export_onnx",
    "encode",
    "get_adapter_config_hash",
    "get_adapter_info",
    "is_fast_on_cpu",
    "list_adapters",
    "parse_composition",
    "predict",
    "setup_adapter_training",
    "validate_composition",
]
