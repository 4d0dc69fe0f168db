"""fairseq's RoBERTa and BART: a real one, and small ones of every shape, compute here what they do by hand."""

from __future__ import annotations

import json
import re
import shutil
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import adapterzoo
from adapterzoo.formats.fairseq import BART, ROBERTA, Kind, open_fairseq
from adapterzoo.formats.foreign import Foreign
from adapterzoo.store import FileError
from tests.helpers.fairseq_files import ARGS, TINY, linear, save, tiny_roberta
from tests.helpers.post_norm import fairseq_roberta
from tests.helpers.processes_here import all_here
from tests.helpers.real import ROOT

transformers = pytest.importorskip("transformers", reason="parity is with transformers")

HEAVY = (
    "QVQLVQSGVEVKKPGASVKVSCKASGYTFTNYYMYWVRQAPGQGLEWMGGINPSNGGTNFNEKFKNRVTLTTDSSTTTAYMELKSLQFDDTAVYYC"
    "ARRDYRFDMGFDYWGQGTTVTVSS"
)
LIGHT = (
    "EIVLTQSPATLSLSPGERATLSCRASKGVSTSGYSYLHWYQQKPGQAPRLLIYLASYLESGVPARFSGSGSGTDFTLTISSLEPEDFAVYYCQHSRDLPLTFGGGTKVEIK"
)
WIDTH, INNER, HEADS, LAYERS, VOCAB, POSITIONS = TINY


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Foreign]:
    """A function that opens a checkpoint; in this process, which saves a second, unless it is `apart`."""
    made = count()

    def run(source: Path, head: str | None = None, apart: bool = False) -> Foreign:
        folder = tmp_path / f"tensors-{next(made)}"
        folder.mkdir()
        with nullcontext() if apart else all_here():
            return open_fairseq(source, folder, head)

    return run


def close(first: Tensor, second: Tensor, near: float = 1e-4) -> None:
    torch.testing.assert_close(first, second, rtol=near, atol=near)


@pytest.mark.parametrize(("file", "text"), [("checkpoint_vh.pt", HEAVY), ("checkpoint_vl.pt", LIGHT)])
def test_a_real_roberta(file: str, text: str, sapiens_dir: Path, tmp_path: Path, opened: Any) -> None:
    found = opened(sapiens_dir / file, apart=True)
    assert (found.class_name, found.unused) == ("RobertaForMaskedLM", ("decoder.lm_head.weight",))
    target = tmp_path / "converted"
    found.write(target)
    masked = [letter if number % 9 else "<mask>" for number, letter in enumerate(text, 4)]
    tokenizer = adapterzoo.AutoTokenizer.from_pretrained(target)
    texts = [" ".join(masked), " ".join(masked[: len(masked) // 2])]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    assert (
        inputs["input_ids"].tolist()
        == transformers.AutoTokenizer.from_pretrained(target)(texts, padding=True)["input_ids"]
    )
    with torch.serialization.safe_globals([Namespace]):
        source = torch.load(sapiens_dir / file, map_location="cpu", weights_only=True)
    ours = adapterzoo.AutoModelForMaskedLM.from_pretrained(target)
    theirs, told = transformers.RobertaForMaskedLM.from_pretrained(target, output_loading_info=True)
    assert not any(told.values())
    with torch.no_grad():
        wanted = fairseq_roberta(source["model"], inputs["input_ids"], source["args"].encoder_attention_heads)[1]
        keep = inputs["attention_mask"].bool()
        for model in (ours, theirs):
            close(
                model.eval()(**{key: inputs[key] for key in ("input_ids", "attention_mask")}).logits[keep], wanted[keep]
            )
    lost = [number for number, letter in enumerate(masked) if letter == "<mask>"]
    guessed = tokenizer.convert_ids_to_tokens(wanted[0, 1:].argmax(-1)[lost].tolist())
    right = sum(guess == text[number] for guess, number in zip(guessed, lost, strict=True))
    assert right > len(lost) / 2


def test_a_folder_of_several_asks_for_a_name(sapiens_dir: Path, opened: Any) -> None:
    with pytest.raises(FileError, match=r"several checkpoints; name one: checkpoint_vh\.pt, checkpoint_vl\.pt"):
        opened(sapiens_dir)


def padded_tokens() -> Tensor:
    tokens = torch.randint(4, VOCAB, (2, 12))
    tokens[:, 0] = 0
    tokens[1, 7:] = 1
    return tokens


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "apart"])
@pytest.mark.parametrize("old", [True, False], ids=["old", "new"])
def test_a_small_roberta_of_any_age(old: bool, joint: bool, tmp_path: Path, opened: Any) -> None:
    model, tokens = tiny_roberta(old, joint), padded_tokens()
    found = opened(save(tmp_path / "src", model, legacy=old, cfg=not old))
    assert found.class_name == "RobertaForMaskedLM"
    assert (found.config.hidden_dropout_prob, found.config.attention_probs_dropout_prob) == (0.2, 0)
    found.write(tmp_path / "dst")
    ours = adapterzoo.AutoModelForMaskedLM.from_pretrained(tmp_path / "dst").eval()
    theirs = transformers.RobertaForMaskedLM.from_pretrained(tmp_path / "dst").eval()
    keep = tokens != 1
    with torch.no_grad():
        wanted = fairseq_roberta(model, tokens, HEADS)[1]
        for each in (ours, theirs):
            close(each(tokens, attention_mask=keep.long()).logits[keep], wanted[keep])


def test_an_output_of_its_own_stays_one(tmp_path: Path, opened: Any) -> None:
    model, tokens = tiny_roberta(False, False), padded_tokens()[:1]
    model["encoder.lm_head.weight"] = torch.randn(VOCAB, WIDTH)
    opened(save(tmp_path / "src", model)).write(tmp_path / "dst")
    with torch.no_grad():
        logits = adapterzoo.AutoModelForMaskedLM.from_pretrained(tmp_path / "dst").eval()(tokens).logits
        close(logits, fairseq_roberta(model, tokens, HEADS)[1])


def test_a_classification_head(tmp_path: Path, opened: Any) -> None:
    model, tokens = tiny_roberta(False, False, heads=("a.b", "mnli")), padded_tokens()
    src = save(tmp_path / "src", model)
    with pytest.raises(ValueError, match=r"several classification heads; choose one of a\.b, mnli, lm_head"):
        opened(src)
    with pytest.raises(ValueError, match=r"no head of .* 'mnly'; .*did you mean 'mnli'"):
        opened(src, "mnly")
    assert opened(src, "lm_head").class_name == "RobertaForMaskedLM"
    found = opened(src, "mnli")
    assert (found.class_name, found.config.num_labels) == ("RobertaForSequenceClassification", 4)
    assert {name.split(".")[1] for name in found.unused} == {"a", "lm_head", "sentence_encoder"}
    assert [name for name in found.unused if "sentence_encoder" in name] == ["encoder.sentence_encoder.version"]
    found.write(tmp_path / "dst")
    ours = adapterzoo.AutoModelForSequenceClassification.from_pretrained(tmp_path / "dst").eval()
    flexible = adapterzoo.AutoAdapterModel.from_pretrained(tmp_path / "dst").eval()
    with torch.no_grad():
        hidden = fairseq_roberta(model, tokens, HEADS)[0][:, 0]
        place = "classification_heads.mnli"
        made = torch.tanh(hidden @ model[f"{place}.dense.weight"].T + model[f"{place}.dense.bias"])
        wanted = made @ model[f"{place}.out_proj.weight"].T + model[f"{place}.out_proj.bias"]
        for each in (ours, flexible):
            close(each(tokens, attention_mask=(tokens != 1).long()).logits, wanted)


def test_the_only_head_is_taken(tmp_path: Path, opened: Any) -> None:
    assert (
        opened(save(tmp_path / "a", tiny_roberta(True, True, ("x",)))).class_name == "RobertaForSequenceClassification"
    )
    assert opened(save(tmp_path / "b", tiny_roberta(True, True, language=False))).class_name == "RobertaModel"


def tiny_bart(joint: bool, output: bool) -> tuple[Any, dict[str, Tensor]]:
    """A random BART of transformers', and its tensors under fairseq's names, given by hand."""
    sizes = {
        f"{stack}_{size}": value
        for stack in ("encoder", "decoder")
        for size, value in (("layers", LAYERS), ("ffn_dim", INNER), ("attention_heads", HEADS))
    }
    config = transformers.BartConfig(
        vocab_size=VOCAB, d_model=WIDTH, max_position_embeddings=POSITIONS, init_std=0.5, **sizes
    )
    bart = transformers.BartForConditionalGeneration(config).eval()
    state = bart.model.state_dict()
    tokens = state.pop("shared.weight")
    model = {**state, "encoder.version": torch.ones(1), "decoder.version": torch.ones(1)}
    if output:
        model["decoder.output_projection.weight"] = tokens
    for name in [name for name in model if joint and name.endswith(("q_proj.weight", "q_proj.bias"))]:
        place, kind = name.rsplit(".q_proj.", 1)
        model[f"{place}.in_proj_{kind}"] = torch.cat([model.pop(f"{place}.{part}_proj.{kind}") for part in "qkv"])
    return bart, model


BART_SIZES = {"decoder_attention_heads": HEADS, "no_scale_embedding": True, "arch": "bart_base"}


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "apart"])
def test_a_small_bart(joint: bool, tmp_path: Path, opened: Any) -> None:
    bart, model = tiny_bart(joint, output=not joint)
    found = opened(save(tmp_path / "src", model, legacy=joint, **BART_SIZES))
    tied = ["decoder.embed_tokens.weight", *(["decoder.output_projection.weight"] if not joint else [])]
    assert found.class_name == "BartForConditionalGeneration"
    assert found.unused == (*tied, "decoder.version", "encoder.version")
    found.write(tmp_path / "dst")
    ours = adapterzoo.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "dst").eval()
    theirs, told = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "dst", output_loading_info=True)
    assert not any(told.values())
    tokens = padded_tokens()
    inputs = {"input_ids": tokens, "attention_mask": (tokens != 1).long(), "decoder_input_ids": tokens[:, :6]}
    with torch.no_grad():
        wanted = bart(**inputs).logits
        for each in (ours, theirs.eval()):
            close(each(**inputs).logits, wanted)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16], ids=str)
def test_another_dtype_is_not_the_same_tensor(dtype: torch.dtype, tmp_path: Path, opened: Any) -> None:
    model = tiny_bart(joint=False, output=False)[1]
    model["decoder.embed_tokens.weight"] = model["decoder.embed_tokens.weight"].to(dtype)
    with pytest.raises(FileError, match=r"Bart does not have: decoder\.embed_tokens\.weight"):
        opened(save(tmp_path / "src", model, **BART_SIZES))


def test_a_scaled_bart_with_a_head(tmp_path: Path, opened: Any) -> None:
    model = tiny_bart(joint=False, output=True)[1]
    linear(model, "classification_heads.mnli.dense", WIDTH, WIDTH)
    linear(model, "classification_heads.mnli.out_proj", 3, WIDTH)
    src = save(tmp_path / "src", model, **{**BART_SIZES, "no_scale_embedding": False, "encoder_layerdrop": 0.1})
    found = opened(src)
    assert (found.class_name, found.config.num_labels) == ("BartForSequenceClassification", 3)
    assert (found.config.scale_embedding, found.config.encoder_layerdrop) == (True, 0.1)
    found.write(tmp_path / "dst")
    told = transformers.BartForSequenceClassification.from_pretrained(tmp_path / "dst", output_loading_info=True)[1]
    assert not any(told.values())
    assert opened(src, "lm_head").class_name == "BartForConditionalGeneration"


@pytest.mark.parametrize("kind", [ROBERTA, BART], ids=lambda kind: kind.name)
def test_the_table_runs_both_ways(kind: Kind, tmp_path: Path, opened: Any) -> None:
    model = tiny_roberta(False, False) if kind is ROBERTA else tiny_bart(False, True)[1]
    found = opened(save(tmp_path / "src", model, **BART_SIZES))
    back = {}
    for name, tensor in found.tensors.items():
        for theirs in kind.table.to_theirs(name) or ():
            back[theirs] = tensor
            assert kind.table.to_ours(theirs).ours == name
    wanted = {name for name in model if "version" not in name} - {kind.output, "decoder.embed_tokens.weight"}
    assert back.keys() == wanted
    assert all(torch.equal(back[name], model[name]) for name in wanted)


SPOILT: dict[str, tuple[Callable[[dict[str, Tensor]], Any], dict[str, Any], str]] = {
    "pre-norm": (lambda model: None, {"encoder_normalize_before": True}, "encoder_normalize_before True; only False"),
    "final norm": (
        lambda model: model.update({"encoder.sentence_encoder.layer_norm.weight": torch.ones(WIDTH)}),
        {},
        "tensors that Roberta does not have: encoder.sentence_encoder.layer_norm.weight",
    ),
    "activation": (lambda model: None, {"activation_fn": "maxout"}, "activation_fn 'maxout'; known are gelu,"),
    "head's activation": (lambda model: None, {"activation_fn": "relu"}, "another activation_fn than 'gelu'"),
    "heads": (lambda model: None, {"encoder_attention_heads": None}, "encoder_attention_heads that is a whole number"),
    "heads at odds": (lambda model: None, {"encoder_attention_heads": 5}, "must be divisible by num_attention_heads"),
    "no embedding": (
        lambda model: model.pop("encoder.sentence_encoder.embed_tokens.weight"),
        {},
        "no matrix encoder.sentence_encoder.embed_tokens.weight",
    ),
    "joint": (
        lambda model: model.update({"encoder.sentence_encoder.layers.0.self_attn.in_proj_bias": torch.ones(4)}),
        {},
        r"in_proj_bias should be three projections in one, not \(4,\)",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_it_does_not_compute_is_refused(name: str, tmp_path: Path, opened: Any, monkeypatch: Any) -> None:
    spoil, args, message = SPOILT[name]
    model = tiny_roberta(False, False)
    spoil(model)
    monkeypatch.setattr("tests.helpers.fairseq_files.ARGS", {**ARGS, **args})
    with pytest.raises(ValueError, match=message):
        opened(save(tmp_path / "src", model))


def test_other_files_are_refused(tmp_path: Path, opened: Any) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file or directory"):
        opened(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no file \*\.pt; it has no files"):
        opened(tmp_path / "empty")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(FileError, match=r"other\.pt is no fairseq checkpoint: it has no args, nor cfg; it has none"):
        opened(tmp_path / "other.pt")


def dictionary(folder: Path, words: list[str]) -> None:
    (folder / "dict.txt").write_text("".join(f"{word} {9 - number % 9}\n" for number, word in enumerate(words)))


def test_a_dictionary_of_words_becomes_a_tokenizer(tmp_path: Path, opened: Any) -> None:
    src = save(tmp_path / "src", tiny_roberta(False, False))
    dictionary(src, [f"w{number}" for number in range(VOCAB - 5)])
    opened(src).write(tmp_path / "dst")
    for library in (adapterzoo, transformers):
        tokenizer = library.AutoTokenizer.from_pretrained(tmp_path / "dst")
        assert tokenizer("w0 <mask>  w3 what")["input_ids"] == [0, 4, VOCAB - 1, 7, 3, 2]
        assert tokenizer.decode([0, 4, 7, 2], skip_special_tokens=True) == "w0 w3"


def test_a_dictionary_of_gpt2s_numbers_becomes_its_vocabulary(tmp_path: Path, opened: Any) -> None:
    src = save(tmp_path / "src", tiny_roberta(False, False))
    dictionary(src, [str(number) for number in reversed(range(VOCAB - 6))] + ["madeupword0000"])
    assert opened(src).files == {}
    (src / "encoder.json").write_text(json.dumps({f"Ġ{chr(97 + number)}": number for number in range(VOCAB - 6)}))
    (src / "vocab.bpe").write_text("#version: 0.2\nĠ a\n")
    files = opened(src).files
    vocabulary = json.loads(files["vocab.json"])
    assert files["merges.txt"] == "#version: 0.2\nĠ a\n"
    assert (vocabulary["<s>"], vocabulary["Ġx"], vocabulary["Ġa"]) == (0, 4, VOCAB - 3)
    assert (vocabulary["madeupword0000"], vocabulary["<mask>"], len(vocabulary)) == (VOCAB - 2, VOCAB - 1, VOCAB)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1\nb 2\n", "has 2 words, so 6 tokens, but the model has 30"),
        ("a\n", r"dict\.txt, line 1: 'a' is not a word and a count"),
        ("a 1\n" * (VOCAB - 4), "has the word 'a' twice"),
        ("\udcff 1\n", "is not UTF-8 text"),
    ],
)
def test_a_dictionary_of_another_model_is_refused(text: str, message: str, tmp_path: Path, opened: Any) -> None:
    src = save(tmp_path / "src", tiny_roberta(False, False))
    (src / "dict.txt").write_text(text, errors="surrogateescape")
    with pytest.raises(FileError, match=message):
        opened(src)


def test_what_the_page_shows_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "my-fairseq-roberta", tiny_roberta(False, False))
    shutil.copytree(ROOT / "tests" / "conversion" / "fixtures" / "bert_ckpt", "my-google-bert")
    page = (ROOT / "docs" / "conversion.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for code in re.findall(r"```py\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    assert capsys.readouterr().out == f"{len(tiny_roberta(False, False))} {HEADS}\n"
    for folder in ("my-hf-bert", "my-hf-roberta"):
        adapterzoo.AutoAdapterModel.from_pretrained(folder)
