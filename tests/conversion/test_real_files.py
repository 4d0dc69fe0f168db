"""Real files through the commands: looked into, converted into all that they can become and back, and verified."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo import formats
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.conversion.drawing import drawn_inputs
from tests.conversion.test_fairseq import HEAVY, LIGHT
from tests.helpers.converting import PICKLE, Command, command, convert, facts, same_tensors
from tests.helpers.hf_models import Case, peer
from tests.helpers.peft_adapters import QUIET
from tests.helpers.processes_here import processes_here

__all__ = ["command", "processes_here"]  # fixtures
transformers = pytest.importorskip("transformers", reason="parity is with transformers")
pytestmark = QUIET
EXACT = ("--tolerance", "0")
SIZES = {
    "bert": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "bart": {"d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_attention_heads": 12},
}
"""What adapters for bert-base and bart-base depend on; the rest is small."""


@pytest.fixture
def real(shared: Path) -> Callable[[str], Path]:
    """A function from a name to the folder of a checkpoint or adapter."""

    def find(name: str) -> Path:
        folder = shared / "checkpoints" / name
        if not folder.is_dir():
            pytest.skip(f"the shared data have no checkpoints/{name}")
        return folder

    return find


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A function from an architecture and a head's type to a random model that is as wide and deep as its "base"."""
    made: dict[tuple[str, str], Path] = {}

    def make(name: str, head_type: str) -> Path:
        if (name, head_type) not in made:
            kind = ARCHITECTURES[name]
            static = next(static for static in kind.statics if static.head_type == head_type)
            model = peer(Case(kind, static), num_labels=2, **SIZES[name])
            with torch.no_grad():
                for parameter in model.parameters():  # of such a width, smaller ones are large enough
                    parameter.mul_(0.2 if parameter.dim() > 1 else 1)
            for bias in (buffer for key, buffer in model.named_buffers() if key == "final_logits_bias"):
                bias.zero_()  # which PEFT keeps for no adapter
            made[name, head_type] = tmp_path_factory.mktemp("base")
            model.save_pretrained(made[name, head_type])
        return made[name, head_type]

    return make


def agree(command: Command, *words: object) -> dict[str, float]:
    """The largest difference of each output; all must be within the tolerance, and some say something."""
    done = command("verify", *words, PICKLE, "--json")
    assert (done.code, done.err) == (0, ""), done
    told = json.loads(done.out)
    assert any(gap["scale"] > 0.1 for gap in told["outputs"]) and len(told["outputs"]) > 1
    return {gap["name"]: gap["largest"] for gap in told["outputs"]}


def acts(adapter: Path, base: Path) -> None:
    """An adapter changes what its model computes, or a comparison would say nothing."""
    model = adapterzoo.AutoAdapterModel.from_pretrained(base)
    name, inputs, found = model.load_adapter(adapter), drawn_inputs(model), []
    for setup in (None, name):
        model.set_active_adapters(setup)
        with torch.no_grad():
            found.append(model(**inputs, output_hidden_states=True))
    key = "decoder_hidden_states" if "decoder_hidden_states" in found[0] else "hidden_states"
    assert float((found[0][key][-1] - found[1][key][-1]).abs().max()) > 1e-3


def pickled(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file of PyTorch's."""
    tensors: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def test_a_bottleneck_of_version_3_is_read_by_a_process_of_its_own(real: Any, tmp_path: Path) -> None:
    source = real("adapterhub-bert-pfeiffer")
    dst = convert(source, tmp_path / "dst")
    same_tensors(dict(formats.read(dst).tensors), pickled(source / "pytorch_adapter.bin"))


def test_a_bottleneck_of_version_3_computes_the_same(
    real: Any, base: Any, tmp_path: Path, command: Command, processes_here: None
) -> None:
    pytest.importorskip("adapters", reason="the peer `adapters` is not installed")
    source, words = real("adapterhub-bert-pfeiffer"), ["--base", base("bert", "classification")]
    dst = convert(source, tmp_path / "dst")
    acts(dst, words[1])
    assert set(agree(command, source, dst, *words, *EXACT).values()) == {0.0}
    assert "loss" in agree(command, dst, "--against", "adapters", *words)
    agree(command, source, "--against", "adapters", *words)
    refused = command("convert", source, tmp_path / "peft", PICKLE, "--to", "peft")
    assert refused.code == 1 and "PEFT has nothing that computes" in refused.err and not (tmp_path / "peft").exists()


def test_a_lora_with_a_classifier(real: Any, base: Any, tmp_path: Path, command: Command, processes_here: None) -> None:
    source, model = real("peft-bert-lora-r8"), base("bert", "classification")
    told, words = facts(command, source), ["--base", model]
    assert (told["name"], told["architecture"], told["head"]["labels"]) == ("peft-bert-lora-r8", "bert", 2)
    hub = convert(source, tmp_path / "hub", "--to", "adapterhub")
    assert formats.read(hub).config["name"] == "peft-bert-lora-r8" and "head" in formats.read(hub).parts
    back = convert(hub, tmp_path / "back", "--to", "peft")
    same_tensors(dict(formats.read(back).tensors), pickled(source / "adapter_model.bin"))
    acts(hub, model)
    for other in (hub, back):
        assert "loss" in agree(command, source, other, *words, *EXACT)
    for place, library in ((source, "peft"), (back, "peft"), (hub, "adapters")):
        pytest.importorskip(library, reason=f"the peer `{library}` is not installed")
        assert {"logits", "loss"} <= agree(command, place, "--against", library, *words).keys()


@pytest.mark.slow
def test_a_lora_of_an_encoder_decoder(
    real: Any, base: Any, tmp_path: Path, command: Command, processes_here: None
) -> None:
    source, model = real("peft-bartbase-lora-r8"), base("bart", "seq2seq_lm")
    words = ["--base", model]
    unsaid = command("convert", source, tmp_path / "hub", "--to", "adapterhub")
    assert unsaid.code == 1 and "may be for bart, mbart, plbart: say which by --model-type" in unsaid.err
    hub = convert(source, tmp_path / "hub", "--to", "adapterhub", "--model-type", "bart")
    back = convert(hub, tmp_path / "back", "--to", "peft")
    same_tensors(dict(formats.read(back).tensors), dict(formats.read(source).tensors))
    acts(hub, model)
    for other in (hub, back):
        assert "loss" in agree(command, source, other, *words, *EXACT)
    for place, library in ((source, "peft"), (back, "peft"), (hub, "adapters")):
        pytest.importorskip(library, reason=f"the peer `{library}` is not installed")
        assert {"decoder_hidden_states.6", "logits", "loss"} <= agree(
            command, place, "--against", library, *words
        ).keys()


def test_a_bart_that_speaks_goes_everywhere_and_back(
    real: Any, tmp_path: Path, command: Command, processes_here: None
) -> None:
    source = real("bart-g2p-gb")
    shards = convert(source, tmp_path / "shards", "--shard-size", "500KB")
    flexible = convert(source, tmp_path / "flexible", "--to", "adapterzoo")
    again = convert(shards, tmp_path / "again")
    assert command("diff", source, again).out.splitlines()[-1] == "50 equal, 1 only in the second"  # a copy of the head
    same_tensors(dict(formats.read(again).tensors), dict(formats.read(shards).tensors))
    for other in (shards, flexible, again):
        assert {"encoder_hidden_states.1", "decoder_hidden_states.1", "logits", "loss"} <= agree(
            command, source, other, *EXACT
        ).keys()
    for one in (source, shards, again):
        assert "loss" in agree(command, one, "--against", "transformers")
    agree(command, flexible, "--against", "transformers")  # which sees the network alone
    half = convert(source, tmp_path / "half", "--dtype", "float16")
    done = command("verify", source, half)
    assert done.code == 1 and "they part at" in done.out
    agree(command, source, half, "--tolerance", "0.1")


@pytest.mark.parametrize("name", ["roberta", pytest.param("bart", marks=pytest.mark.slow)])
def test_a_vocabulary_goes_along(name: str, real: Any, tmp_path: Path, command: Command, processes_here: None) -> None:
    vocabulary = real("roberta-bart-vocab")
    alone = command("inspect", vocabulary)
    assert alone.code == 1 and "it has merges.txt, tokenizer.json, vocab.json" in alone.err
    kind = ARCHITECTURES[name]
    peer(Case(kind, kind.static(f"{kind.name}ForSequenceClassification")), vocab_size=50265).save_pretrained(
        tmp_path / "src"
    )
    for path in vocabulary.iterdir():
        shutil.copy(path, tmp_path / "src")
    dst = convert(tmp_path / "src", tmp_path / "dst")
    for path in vocabulary.iterdir():
        assert (dst / path.name).read_bytes() == path.read_bytes()
    texts = ["Hello world", " a longer text, with numbers: 1234, and ümlauts"]
    (tmp_path / "texts").write_text("\n".join(texts), encoding="utf-8")
    assert "loss" in agree(command, tmp_path / "src", dst, "--text", tmp_path / "texts", *EXACT)
    assert "loss" in agree(command, dst, "--against", "transformers", "--text", tmp_path / "texts")
    theirs = transformers.AutoTokenizer.from_pretrained(dst)(texts)["input_ids"]
    assert adapterzoo.AutoTokenizer.from_pretrained(dst)(texts)["input_ids"] == theirs


@pytest.mark.parametrize(
    "name",
    [
        "bert_ft_10k_25s",
        pytest.param("bert_ft", marks=pytest.mark.slow),
        pytest.param("bert_pretrained", marks=pytest.mark.slow),
    ],
)
def test_chemistrys_berts(
    name: str, rxnfp_dir: Callable[[str], Path], tmp_path: Path, command: Command, processes_here: None
) -> None:
    source = rxnfp_dir(name)
    head = {"bert_ft": None, "bert_pretrained": "pretraining", "bert_ft_10k_25s": "classification"}[name]
    words = ["--model-type", "bert"]  # which not every config.json says
    told = facts(command, source, *words)
    assert (told["architecture"], told["problems"], told["missing"], told["unexpected"]) == ("bert", [], [], [])
    assert (told["head"] or {}).get("type") == head
    shards = convert(source, tmp_path / "shards", "--shard-size", "10MB", *words)
    whole = convert(shards, tmp_path / "whole")
    *lines, count = command("diff", source, whole, PICKLE).out.splitlines()
    beside = [f"only in the second: heads/default: heads.default.1.{key}" for key in ("bias", "weight")]
    assert set(lines) <= {*beside, *(f"only in the first: {key}" for key in told["unused"])}
    assert count.startswith(f"{len(told['tensors'])} equal")
    for one in (shards, whole):
        assert ("loss" in agree(command, source, one, *words, *EXACT)) == (head is not None)
    assert ("loss" in agree(command, whole, "--against", "transformers")) == (head is not None)
    if head == "classification":
        flexible = convert(source, tmp_path / "flexible", "--to", "adapterzoo")
        assert "loss" in agree(command, source, flexible, *EXACT)


def test_a_sentence_encoder(minilm_dir: Path, tmp_path: Path, command: Command, processes_here: None) -> None:
    told = facts(command, minilm_dir)
    assert (told["class"], told["unused"], told["problems"]) == ("BertModel", ["embeddings.position_ids"], [])
    dst = convert(minilm_dir, tmp_path / "dst", "--shard-size", "30MB")
    done = command("diff", minilm_dir, dst)
    assert done.out.splitlines() == ["only in the first: embeddings.position_ids", "103 equal, 1 only in the first"]
    (tmp_path / "texts").write_text("A text.\nAnother one, which is much longer, and says more.\n")
    words = ["--text", tmp_path / "texts"]
    assert set(agree(command, minilm_dir, dst, *words, *EXACT).values()) == {0.0}
    assert {"hidden_states.6", "pooler_output"} <= agree(command, dst, "--against", "transformers", *words).keys()


@pytest.mark.parametrize(("file", "text"), [("checkpoint_vh.pt", HEAVY), ("checkpoint_vl.pt", LIGHT)])
def test_antibodies_residues(
    file: str, text: str, sapiens_dir: Path, tmp_path: Path, command: Command, processes_here: None
) -> None:
    source = sapiens_dir / file
    told = facts(command, source)
    assert (told["architecture"], told["class"], told["problems"]) == ("roberta", "RobertaForMaskedLM", [])
    dst = convert(source, tmp_path / "dst")
    agree(command, source, dst, *EXACT)
    agree(command, dst, "--against", "transformers")
    tokenizer = adapterzoo.AutoTokenizer.from_pretrained(dst)
    hidden = list(range(0, len(text), 7))
    letters = ["<mask>" if number in hidden else letter for number, letter in enumerate(text)]
    ids = tokenizer([" ".join(letters)], return_tensors="pt")["input_ids"]
    there = transformers.AutoTokenizer.from_pretrained(dst)([" ".join(letters)], return_tensors="pt")
    assert torch.equal(ids, there["input_ids"])
    models = [kind.from_pretrained(dst).eval() for kind in (adapterzoo.AutoModelForMaskedLM, _theirs())]
    with torch.no_grad():
        ours, theirs = (model(input_ids=ids).logits[0, 1:-1][hidden] for model in models)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(ours.topk(3).indices, theirs.topk(3).indices)
    guessed = tokenizer.convert_ids_to_tokens(ours.argmax(-1).tolist())
    assert sum(guess == text[number] for guess, number in zip(guessed, hidden, strict=True)) > len(hidden) / 2


def _theirs() -> Any:
    return transformers.RobertaForMaskedLM
