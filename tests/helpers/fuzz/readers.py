"""Every reader of files: a small good example of what it reads, how it reads, and how that is written again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adapterzoo import AutoAdapterModel, BertModel, Fuse, ModelConfig, Tokenizer
from adapterzoo.conversion.file_facts import add_files
from adapterzoo.conversion.inspection import inspect_source
from adapterzoo.conversion.odd import add_odd
from adapterzoo.core.compose import AdapterCompositionBlock, Stack
from tests.helpers.adapting import add_random
from tests.helpers.tiny import randomise, tiny_model
from tests.helpers.vocabularies import NEW, tokenizer_of, vocab_folder
from weights_conversion.text import report


class Reader(NamedTuple):
    """One kind of files and what reads them.

    Attributes:
        make: writes a good example.
        host: makes what is loaded into; None where loading makes something new.
        load: reads a folder, into the host if there is one, and returns what `save` wants to know.
        save: writes what was loaded to a folder, given the host and what `load` returned; None where that is nothing.
        of_host: whether the host, not what `load` returned, is what was loaded.
        spare: whether files may lack a tensor: whether a name, as it is written, is of those that are made anew.
        passed: entries of JSON files that are not looked at, and written as they always are.
        told: whether the content of what was loaded says that the files are wrong, which counts as refused.
    """

    make: Callable[[Path], object]
    host: Callable[[], Any]
    load: Callable[[Any, Path], Any]
    save: Callable[[Any, Any, Path], object] | None
    of_host: bool = True
    spare: Callable[[str], bool] = lambda name: False
    passed: tuple[str, ...] = ()
    told: Callable[[Any], bool] = lambda content: False


def _nothing() -> None:
    return None


# ---------------------------------------------------------------------------------------------- models


def furnished() -> Any:
    """A model with all that may lie beside one."""
    model = tiny_model("bert")
    add_random(model, "a", "lora[r=2]")
    add_random(model, "b", "seq_bn[reduction_factor=8]")
    add_random(model, "d", "seq_bn[reduction_factor=8]")
    model.add_adapter_fusion(Fuse("b", "d"))
    model.add_classification_head("a", num_labels=3)
    randomise(model.heads)
    model.add_embeddings("new", tokenizer_of(NEW))
    model.set_active_embeddings("default")
    model.set_active_adapters(Stack("a", "b"))
    return model


def make_model(folder: Path) -> None:
    """A saved model with adapters, a fusion, a head and embeddings."""
    furnished().save_pretrained(folder)


def make_task(folder: Path) -> None:
    """A saved model of HF's with a task's head."""
    tiny_model("bert", "ForSequenceClassification", num_labels=3).save_pretrained(folder)


def make_sharded(folder: Path) -> None:
    """The same in two files with an index."""
    make_task(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    where = {key: names[number % 2] for number, key in enumerate(tensors)}
    for name in names:
        save_file({key: tensors[key] for key in tensors if where[key] == name}, folder / name, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def make_pickled(folder: Path) -> None:
    """The same as PyTorch saves it."""
    make_task(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _loaded(kind: Any, **options: Any) -> Callable[[Any, Path], Any]:
    return lambda host, folder: kind.from_pretrained(folder, **options)


def _new_in_bert(name: str) -> bool:
    """Whether a checkpoint may lack a tensor: the pooler, and as a head's is not whole, what is left out with it."""
    return name.removeprefix("bert.").startswith(("pooler.", "classifier."))


def _model(make: Callable[[Path], object], load: Callable[[Any, Path], Any]) -> Reader:
    return Reader(make, _nothing, load, lambda host, model, folder: model.save_pretrained(folder), False, _new_in_bert)


# ---------------------------------------------------------------------------------------------- adapters and heads


def host() -> Any:
    """A model into which others are loaded, with an adapter and a head of its own."""
    torch.manual_seed(0)
    model = tiny_model("bert")
    add_random(model, "own", "lora[r=2]")
    add_random(model, "taken", "lora[r=3]")
    model.add_classification_head("taken", num_labels=2)
    model.set_active_adapters("own")
    return model


def two_hosts() -> Any:
    """The same with two bottlenecks, which may be fused."""
    model = host()
    for name in ("b", "d"):
        add_random(model, name, "seq_bn[reduction_factor=8]")
    return model


def _adapter(config: str, head: bool = False) -> Reader:
    def make(folder: Path) -> None:
        model = host()
        _replace(model, config)
        model.save_adapter(folder, "taken", with_head=head)

    return Reader(
        make,
        host,
        lambda model, folder: model.load_adapter(folder, set_active=True),
        lambda model, name, folder: model.save_adapter(folder, name, with_head=head),
    )


def _replace(model: Any, config: str) -> None:
    model.add_adapter("taken", config, overwrite_ok=True)
    randomise(model.adapters["taken"])


def make_head(folder: Path) -> None:
    """A head with labels."""
    model = host()
    model.add_tagging_head("tags", num_labels=3, id2label={0: "O", 1: "B", 2: "I"}, layers=2)
    randomise(model.heads)
    model.save_head(folder, "tags")


def make_fusion(folder: Path) -> None:
    """A fusion."""
    model = two_hosts()
    model.add_adapter_fusion(Fuse("b", "d"))
    randomise(model.fusions)
    model.save_adapter_fusion(folder, Fuse("b", "d"))


def make_setup(folder: Path) -> None:
    """A setup of three adapters, a fusion and a head."""
    model = two_hosts()
    model.add_adapter_fusion(Fuse("b", "d"))
    randomise(model.fusions)
    model.add_classification_head("own", num_labels=2)
    model.save_adapter_setup(folder, Stack("taken", Fuse("b", "d")), head_setup="own")


def make_embeddings(folder: Path) -> None:
    """An embedding and its tokenizer."""
    model = host()
    model.add_embeddings("new", tokenizer_of(NEW))
    model.save_embeddings(folder, "new", tokenizer_of(NEW))


# ---------------------------------------------------------------------------------------------- PEFT


def _peft(make: Callable[[Path], object]) -> Reader:
    return Reader(
        make,
        host,
        lambda model, folder: model.load_adapter(folder, load_as="new", set_active=True),
        lambda model, name, folder: model.save_adapter(folder, name),
    )


def _make_peft(config: str, **entries: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model = host()
        _replace(model, config)
        model.save_adapter(folder, "taken", with_head=False, to="peft")
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))

    return make


def make_prompt(folder: Path) -> None:
    """A prompt as PEFT writes it."""
    save_file({"prompt_embeddings": torch.randn(4, 32)}, folder / "adapter_model.safetensors")
    content = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_CLS", "num_virtual_tokens": 4, "token_dim": 32}
    more = {"num_layers": 2, "num_attention_heads": 8, "num_transformer_submodules": 1, "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps({**content, **more}))


# ---------------------------------------------------------------------------------------------- tokenizers


def make_wordpiece(folder: Path) -> None:
    """The files of BERT's tokenizer before there was a tokenizer.json."""
    vocab_folder(folder, NEW)
    settings = {"do_lower_case": True, "model_max_length": 24, "strip_accents": None, "tokenize_chinese_chars": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").write_text(json.dumps({"cls_token": "[CLS]", "mask_token": "[MASK]"}))
    (folder / "added_tokens.json").write_text(json.dumps({"<x>": len(NEW), "<y>": len(NEW) + 1}))


def make_tokenizer(folder: Path) -> None:
    """The files of today."""
    tokenizer_of(NEW).save_pretrained(folder)


def make_bpe(folder: Path) -> None:
    """The files of RoBERTa's tokenizer."""
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefg", "Ġ", "ab", "Ġa"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b\nĠ a\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": True, "model_max_length": 512}))


def _tokenizer(make: Callable[[Path], object]) -> Reader:
    return Reader(make, _nothing, _loaded(Tokenizer), lambda host, made, folder: made.save_pretrained(folder), False)


def _inspected(reader: Reader, folder_named: str = "", model_type: str | None = None) -> Reader:
    """What `inspect` makes of the same files.

    Args:
        reader: what reads them else.
        folder_named: the folder that they lie in, where what they hold is called like that.
        model_type: see `inspect_source`.
    """

    def make(folder: Path) -> None:
        (folder / folder_named).mkdir(exist_ok=True)
        reader.make(folder / folder_named)

    def load(host: Any, folder: Path) -> Any:
        facts = add_files(add_odd(inspect_source(folder / folder_named, True, model_type), True, quiet=True), {})
        report(facts)
        return _elsewhere(facts)

    return Reader(make, _nothing, load, None, False, told=lambda facts: bool(facts["problems"]))


def _elsewhere(facts: Any) -> Any:
    """What was found, but for where, in how many bytes, and which of a file's faults safetensors came upon first."""
    if isinstance(facts, dict):
        return {key: _elsewhere(value) for key, value in facts.items() if key not in ("source", "files")}
    if isinstance(facts, str):
        return re.sub("(is no whole safetensors file: ).*", r"\1", facts)
    return [_elsewhere(one) for one in facts] if isinstance(facts, list) else facts


READERS: dict[str, Reader] = {
    "model": _model(make_model, _loaded(AutoAdapterModel)),
    "model, bare": _model(make_task, _loaded(BertModel)),
    "model, with head": _model(make_task, _loaded(AutoAdapterModel)),
    "model, sharded": _model(make_sharded, _loaded(AutoAdapterModel)),
    "model, pickled": _model(make_pickled, _loaded(AutoAdapterModel, allow_pickle=True)),
    "adapter, bottleneck": _adapter("seq_bn_inv[reduction_factor=8]"),
    "adapter, LoRA and head": _adapter("lora[r=2]", head=True),
    "adapter, prefix": _adapter("prefix_tuning[prefix_length=3,bottleneck_size=5]"),
    "adapter, Compacter": _adapter("compacter[reduction_factor=8,phm_dim=2]"),
    "adapter, union": _adapter("lora[r=2]|prefix_tuning_flat[prefix_length=3]"),
    "head": Reader(make_head, host, lambda m, d: m.load_head(d), lambda m, name, d: m.save_head(d, name)),
    "fusion": Reader(
        make_fusion,
        two_hosts,
        lambda m, d: m.load_adapter_fusion(d, set_active=True),
        lambda m, name, d: m.save_adapter_fusion(d, name),
        spare=lambda name: name.endswith(".steps"),  # of the temperature, which their library does not save
    ),
    "setup": Reader(
        make_setup,
        host,
        lambda m, d: m.load_adapter_setup(d, set_active=True),
        lambda m, setup, d: m.save_adapter_setup(d, setup[0], setup[1]),
    ),
    "PEFT, LoRA": _peft(_make_peft("lora[r=2]", rank_pattern={"layer.0.attention.self.query": 2})),
    "PEFT, (IA)³": _peft(_make_peft("ia3")),
    "PEFT, VeRA": _peft(_make_peft("vera[r=4]")),
    "PEFT, prompt": _peft(make_prompt),
    "embeddings": Reader(
        make_embeddings,
        host,
        lambda m, d: m.load_embeddings(d, "new"),
        lambda m, made, d: m.save_embeddings(d, "new", made),
    ),
    "tokenizer": _tokenizer(make_tokenizer),
    "tokenizer, WordPiece": _tokenizer(make_wordpiece),
    "tokenizer, BPE": _tokenizer(make_bpe),
}
INSPECTED = ("model", "model, sharded", "model, pickled", "adapter, LoRA and head", "adapter, union", "head")
INSPECTED += ("fusion", "setup")
BY_FOLDER = ("PEFT, LoRA", "PEFT, (IA)³", "PEFT, VeRA", "PEFT, prompt", "embeddings")
READERS |= {f"inspect: {name}": _inspected(READERS[name]) for name in INSPECTED}
READERS |= {f"inspect: {name}": _inspected(READERS[name], "mine", "bert") for name in BY_FOLDER}


# ---------------------------------------------------------------------------------------------- content

OF_FILES = ("architectures", "dtype", "torch_dtype")
"""Entries of configs that are about the files, not about the model."""


def content_of(value: Any) -> Any:
    """All that something which was loaded is, as plain data that can be compared bit for bit."""
    if isinstance(value, Tensor):
        plain = value.detach().contiguous()
        return str(plain.dtype), tuple(plain.shape), plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, Tokenizer):
        return value.backend.to_str(), value.special_tokens_map, str(value.model_max_length), _encoded(value)
    if isinstance(value, nn.Module):
        return _content_of_model(value)
    if isinstance(value, ModelConfig):
        said = value.to_dict()
        return json.dumps({key: said[key] for key in said if key not in OF_FILES}, sort_keys=True)
    if isinstance(value, AdapterCompositionBlock):
        return json.dumps(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): content_of(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [content_of(inner) for inner in value]
    return repr(value)


def _encoded(tokenizer: Tokenizer) -> Any:
    """What it makes of texts; or that it cannot read any, which it may say when it is called."""
    try:
        return [tokenizer(text).input_ids for text in ("both7 new3 x", "ab a [MASK] <x>")]
    except ValueError as error:
        return str(error)


def _content_of_model(model: Any) -> dict[str, Any]:
    heads = model.heads_of()
    return {
        "tensors": content_of(dict(model.state_dict(keep_vars=True))),
        "modes": [name for name, module in model.named_modules() if module.training],
        "config": content_of(model.config),
        "adapters": {name: content_of(adapter.config.to_dict()) for name, adapter in model.adapters.items()},
        "fusions": {name: content_of((fusion.names, fusion.config)) for name, fusion in model.fusions.items()},
        "heads": {name: content_of(head.config) for name, head in heads.items()},
        "embeddings": content_of([model.active_embeddings, list(model.loaded_embeddings)]),
        "active": content_of([model.active_adapters, sorted(model.adapters.skip_layers), model.adapters.merged]),
        "active head": content_of(getattr(model, "active_head", None)),
        "shared": content_of({name: list(share) for name, share in model.adapters.shares.items()}),
    }
