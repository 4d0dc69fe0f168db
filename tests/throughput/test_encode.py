"""`encode`: each text's embedding, whatever its batch, in the order given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from adapterzoo import AdapterSetup, BatchSplit, Parallel, UnknownName, encode
from adapterzoo.heads.similarity import POOLINGS
from tests.helpers.comparing import assert_close
from tests.helpers.tiny import DISTINCT, randomise
from tests.throughput.models import LETTERS, model, some_texts, tokenizer


def embedded(made: Any, texts: list[Any], **options: Any) -> torch.Tensor:
    return torch.as_tensor(encode(made, tokenizer(), texts, **options))


def with_adapters(*names: str, heads: tuple[str, ...] = ()) -> Any:
    made = model()
    for name in names:
        made.add_adapter(name, "lora[r=2]")
    for name in heads:
        made.add_similarity_head(name)
    for part in [made.adapters[name] for name in names] + [made.heads[name] for name in heads]:
        randomise(part)
    made.active_head = None
    return made


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("architecture", DISTINCT)
def test_batches_and_order_change_nothing(architecture: str, pooling: str) -> None:
    made, texts = model(architecture), some_texts(7)
    found = embedded(made, texts, pooling=pooling, max_tokens=20)
    assert_close(found, embedded(made, texts, pooling=pooling, max_tokens=1), "one by one")
    for text, row in zip(texts, found, strict=True):
        assert_close(row, embedded(made, text, pooling=pooling), text)  # type: ignore[arg-type]


def test_the_mean_is_that_of_the_models_own_output() -> None:
    made, texts = model("bert", "Model"), some_texts(5)
    batch = tokenizer()(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = made(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    assert_close(embedded(made, texts), mean, "mean")
    assert_close(embedded(made, texts, normalize_embeddings=True), F.normalize(mean, dim=1), "normalised")


def test_shapes_and_kinds() -> None:
    made, tokens = model("bert", "Model"), tokenizer()
    width = made.base.config.width
    assert encode(made, tokens, []).shape == (0, width)
    assert encode(made, tokens, "a b").shape == (width,)
    assert encode(made, tokens, (text for text in ["a b", "c"])).shape == (2, width)
    assert isinstance(encode(made, tokens, ["a"]), np.ndarray)
    as_tensor = encode(made, tokens, ["a"], convert_to_tensor=True)
    assert isinstance(as_tensor, torch.Tensor) and not as_tensor.requires_grad
    assert encode(made.bfloat16(), tokens, ["a", "b c"]).dtype == np.float32


@pytest.mark.parametrize("segments", [True, False])
def test_pairs_are_read_together(segments: bool) -> None:
    made, pairs = model("bert", "Model"), [("a b", "c"), ("a", "b c d"), ("e f g", "h")]
    tokens = tokenizer()
    if not segments:
        tokens.model_input_names = ["input_ids", "attention_mask"]
    batch = tokens(pairs, padding=True, return_tensors="pt")
    assert ("token_type_ids" in batch) == segments
    with torch.no_grad():
        first = made(**batch).last_hidden_state[:, 0]
    found = encode(made, tokens, pairs, pooling="cls", max_tokens=9, convert_to_tensor=True)
    assert_close(found, first, "pairs")


def test_long_texts_are_cut_off_and_may_be_over_the_budget() -> None:
    made = model("bert", "Model")
    long = " ".join("abcdefgh" * 9)
    found = embedded(made, ["a", long, "b c"], max_tokens=5, max_length=12)
    assert_close(found[1], embedded(made, [long], max_length=12)[0], "cut off")
    assert_close(found[1], embedded(made, [" ".join((*"abcdefgh", *"ab"))])[0], "its first words")


def test_each_text_has_its_adapter() -> None:
    made, texts = with_adapters("x", "y"), some_texts(8)
    names = ["x", None, "y", "y", None, "x", "x", "y"]
    found = embedded(made, texts, adapter_names=names, max_tokens=25)
    for text, name, row in zip(texts, names, found, strict=True):
        with AdapterSetup(name):
            assert_close(row, embedded(made, [text])[0], f"{name}: {text}")


def test_similarity_heads_make_the_embedding() -> None:
    made, texts = with_adapters("x", "y", heads=("x", "y", "z")), some_texts(6)
    names = ["x", "y", "y", "x", "y", "x"]
    batch = tokenizer()(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        z = made(**batch, head="z").embeddings
        both = torch.stack([made(**tokenizer()([text], return_tensors="pt"), adapter_names=[name]).embeddings[0]
                            for text, name in zip(texts, names, strict=True)])  # fmt: skip
    assert_close(embedded(made, texts, head="z", max_tokens=20), z, "named")
    assert_close(embedded(made, texts, adapter_names=names, max_tokens=20), both, "by adapters")
    made.active_head = "z"
    assert_close(embedded(made, texts), z, "active")
    plain = embedded(made, texts, pooling="mean")
    made.add_classification_head("other")
    assert_close(embedded(made, texts), plain, "heads for something else are passed over")


def test_the_models_mode_is_as_it_was() -> None:
    made, texts = model("bert", "Model", hidden_dropout_prob=0.5), some_texts(4)
    still = embedded(made, texts)
    made.train()
    made.base.encoder[0].eval()
    before = [module.training for module in made.modules()]
    assert_close(embedded(made, texts), still, "no dropout")
    assert [module.training for module in made.modules()] == before
    other = tokenizer()
    other.add_tokens([letter * 2 for letter in LETTERS] + [letter * 3 for letter in LETTERS])
    with pytest.raises(ValueError, match="the vocabulary's ids"):
        encode(made, other, ["a", "zzz"])
    assert [module.training for module in made.modules()] == before


def test_progress_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    made = model("bert", "Model")
    encode(made, tokenizer(), some_texts(3))
    encode(made, tokenizer(), some_texts(3), show_progress=False)
    assert capsys.readouterr().err == "", "stderr is no terminal"
    encode(made, tokenizer(), some_texts(3), show_progress=True)
    assert "3/3" in capsys.readouterr().err


def test_errors_say_what_is_wrong() -> None:
    made, tokens = with_adapters("x", "y", heads=("x",)), tokenizer()
    made.add_classification_head("labels")
    for options, message in (
        ({"pooling": "sum"}, "no pooling 'sum'; there are"),
        ({"head": "labels"}, "no similarity head named 'labels'; there are x"),
        ({"head": "x", "pooling": "mean"}, "either pooling='mean' or head='x'"),
        ({"adapter_names": ["x"]}, "1 names, but there are 2 texts"),
        ({"adapter_names": ["x", "y"]}, "some texts have a similarity head and some have none"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"head": "nobody"}, "nobody"),
        ({"adapter_names": ["q", None]}, "'q'"),
    ):
        with pytest.raises((ValueError, UnknownName), match=message):
            encode(made, tokens, ["a", "b"], **options)
    with pytest.raises(ValueError, match="entry 1 is a int"):
        encode(made, tokens, ["a", 3])
    with pytest.raises(ValueError, match="not a dict"):
        encode(made, tokens, {"text": "a"})
    for setup in (Parallel("x", "y"), BatchSplit("x", "y", batch_sizes=[3, 4])):
        made.set_active_adapters(setup)
        with pytest.raises(ValueError, match=r"Parallel.* answers each text 2 times|add up to 7"):
            encode(made, tokens, ["a", "b"], pooling="mean")
