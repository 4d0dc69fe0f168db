"""Real checkpoints: rxnfp's three BERTs, all-MiniLM-L6-v2, a trained BART, an adapter from AdapterHub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from tests.helpers.converting import PICKLE, Command, command, convert, facts
from tests.helpers.hf_compare import same_output

__all__ = ["command"]  # a fixture
transformers = pytest.importorskip("transformers", reason="parity is with transformers")


def same_as_there(ours: Any, source: Path, target: Path, kind: str, **options: Any) -> None:
    """Transformers computes the same from what was converted as from the source, and so do ours."""
    there = getattr(transformers, kind)
    before, after = (there.from_pretrained(folder, **more).eval() for folder, more in ((source, options), (target, {})))
    before.config.use_cache = after.config.use_cache = False
    torch.manual_seed(1)
    inputs = {"input_ids": torch.randint(4, before.config.vocab_size, (3, 40))}
    if before.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(4, before.config.vocab_size, (3, 30))
    with torch.no_grad():
        wanted = before(**inputs)
        for model in (after, *ours):
            same_output(model(**inputs), wanted)


@pytest.mark.parametrize(
    ("name", "kind", "auto", "labels"),
    [
        ("bert_ft", "BertModel", ["AutoModel", "AutoAdapterModel"], None),
        ("bert_pretrained", "BertForPreTraining", ["AutoModelForPreTraining"], None),
        (
            "bert_ft_10k_25s",
            "BertForSequenceClassification",
            ["AutoModelForSequenceClassification", "AutoAdapterModel"],
            50,
        ),
    ],
)
def test_rxnfp_converts(
    name: str, kind: str, auto: list[str], labels: int | None, rxnfp_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    source = rxnfp_dir(name)
    target = convert(source, tmp_path / "dst", "--model-type", "bert")
    ours = [getattr(adapterzoo, each).from_pretrained(target) for each in auto]
    # Its config lists two labels; transformers believes the list unless it is told.
    same_as_there(ours, source, target, kind, **({} if labels is None else {"num_labels": labels}))
    assert (target / "vocab.txt").read_bytes() == (source / "vocab.txt").read_bytes()
    assert (target / "heads" / "default").is_dir() == (labels is not None)


def test_rxnfps_classifier_becomes_a_flexible_head_with_all_its_labels(
    rxnfp_dir: Callable[[str], Path], tmp_path: Path, command: Command
) -> None:
    source = rxnfp_dir("bert_ft_10k_25s")
    target = convert(source, tmp_path / "dst")
    told = facts(command, source)
    head = json.loads((target / "heads" / "default" / "head_config.json").read_text())["config"]
    assert len(head["label2id"]) == told["head"]["labels"] == 50
    assert len(adapterzoo.AutoAdapterModel.from_pretrained(target).get_labels()) == 50


def test_minilm_converts(minilm_dir: Path, tmp_path: Path, command: Command) -> None:
    target = convert(minilm_dir, tmp_path / "dst")
    ours = [kind.from_pretrained(target) for kind in (adapterzoo.AutoModel, adapterzoo.AutoAdapterModel)]
    same_as_there(ours, minilm_dir, target, "AutoModel")
    assert facts(command, minilm_dir)["unused"] == ["embeddings.position_ids"]
    texts = ["a text", "and another one, which is longer"]
    read = [adapterzoo.AutoTokenizer.from_pretrained(folder)(texts) for folder in (minilm_dir, target)]
    assert read[0]["input_ids"] == read[1]["input_ids"]


def test_a_trained_bart_converts(shared: Path, tmp_path: Path) -> None:
    source = shared / "checkpoints" / "bart-g2p-gb"
    if not source.is_dir():
        pytest.skip("the shared data have no checkpoints/bart-g2p-gb")
    target = convert(source, tmp_path / "dst")
    autos = (adapterzoo.AutoModelForSeq2SeqLM, adapterzoo.AutoAdapterModel)
    ours = [kind.from_pretrained(target) for kind in autos]
    same_as_there(ours, source, target, "BartForConditionalGeneration")
    kept = [json.loads((folder / "config.json").read_text())["phoneme_chars"] for folder in (source, target)]
    assert kept[0] == kept[1]


def test_an_adapter_of_version_3_is_told(shared: Path, command: Command) -> None:
    source = shared / "checkpoints" / "adapterhub-bert-pfeiffer"
    if not source.is_dir():
        pytest.skip("the shared data have no checkpoints/adapterhub-bert-pfeiffer")
    told = facts(command, source)
    said = json.loads((source / "adapter_config.json").read_text())
    assert (told["name"], told["architecture"], told["method"]) == (said["name"], said["model_type"], "bottleneck")
    tensors = torch.load(source / "pytorch_adapter.bin", weights_only=True)
    assert sorted(row["theirs"] for row in told["tensors"]) == sorted(tensors)
    assert (told["missing"], told["unexpected"], told["unused"], told["head"]) == ([], [], [], None)
    assert told["sizes"]["layers"] == {"encoder": list(range(12))}
    done = command("inspect", source)
    assert done.code == 1 and PICKLE in done.err
