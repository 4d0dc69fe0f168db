"""`predict`: what each kind of head says of texts, whatever their batch, in the order given."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adapterzoo import predict
from tests.helpers.comparing import assert_close
from tests.helpers.heads import add_head, head_types
from tests.helpers.tiny import randomise
from tests.throughput.models import model, some_texts, tokenizer

NAMES = {0: "bad", 1: "good", 2: "odd"}


def said(made: Any, texts: Any, **options: Any) -> Any:
    return predict(made, tokenizer(), texts, **options)


def logits(made: Any, text: Any, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = made(**tokenizer()([text], return_tensors="pt"), **options).logits[0]
    return found


def test_classification_names_labels() -> None:
    made, texts = model(), some_texts(9)
    add_head(made, "classification", "c", num_labels=3, id2label=NAMES)
    found = said(made, texts, max_tokens=20)
    ranked = said(made, texts, max_tokens=20, top_k=5)
    for text, best, every in zip(texts, found, ranked, strict=True):
        scores = logits(made, text).softmax(-1)
        assert best["label"] == NAMES[int(scores.argmax())]
        assert best["score"] == pytest.approx(float(scores.max()), abs=1e-5)
        assert {one["label"]: one["score"] for one in every} == pytest.approx(
            dict(zip(NAMES.values(), scores.tolist(), strict=True)), abs=1e-5
        )
        assert every[0]["label"] == best["label"] and every[0]["score"] >= every[1]["score"] >= every[2]["score"]
    assert said(made, texts[0])["label"] == found[0]["label"]
    assert [len(row) for row in said(made, texts, top_k=1)] == [1] * 9
    assert said(made, []) == []


def test_several_labels_at_once_and_regression() -> None:
    made, texts = model(), some_texts(5)
    add_head(made, "multilabel_classification", "m", num_labels=3, id2label=NAMES)
    for text, row in zip(texts, said(made, texts), strict=True):
        scores = dict(zip(NAMES.values(), logits(made, text).sigmoid().tolist(), strict=True))
        assert {one["label"]: one["score"] for one in row} == pytest.approx(scores, abs=1e-5)
    add_head(made, "classification", "r", num_labels=1)
    assert said(made, texts) == pytest.approx([float(logits(made, text)) for text in texts], abs=1e-5)


def test_tags_are_of_words() -> None:
    made = model()
    add_head(made, "tagging", "t", num_labels=3, id2label=NAMES)
    texts = ["a  b c", "d", ", e f g h i j"]
    for text, row in zip(texts, said(made, texts, max_tokens=12), strict=True):
        scores = logits(made, text)[1:-1].softmax(-1)
        assert [one["word"] for one in row] == text.split()
        assert [text[one["start"] : one["end"]] for one in row] == text.split()
        assert [one["label"] for one in row] == [NAMES[number] for number in scores.argmax(-1).tolist()]
        assert [one["score"] for one in row] == pytest.approx(scores.amax(-1).tolist(), abs=1e-5)
    split = said(made, [text.split() for text in texts], is_split_into_words=True)
    assert [[one["label"] for one in row] for row in split] == [
        [one["label"] for one in row] for row in said(made, texts)
    ]
    assert said(made, ["a", "b"], is_split_into_words=True) == said(made, [["a", "b"]], is_split_into_words=True)[0]
    assert len(said(made, ["a b c d e f g"], max_length=5)[0]) == 3, "what was cut off has no tag"


def test_an_answer_is_the_likeliest_span_of_the_second_text() -> None:
    made = model()
    add_head(made, "question_answering", "q")
    pairs = [("a b", "c  d e f"), ("a", "g h"), ("b c d", "i j k l m")]
    for (question, context), answer in zip(pairs, said(made, pairs, max_tokens=15), strict=True):
        with torch.no_grad():
            output = made(**tokenizer()([(question, context)], return_tensors="pt"))
        first = len(question.split()) + 2
        start, end = (values[0, first:-1].softmax(0) for values in (output.start_logits, output.end_logits))
        spans = {(i, j): float(start[i] * end[j]) for i in range(len(start)) for j in range(i, len(end))}
        best = max(spans, key=lambda span: spans[span])
        assert answer["answer"].split() == context.split()[best[0] : best[1] + 1]
        assert context[answer["start"] : answer["end"]] == answer["answer"]
        assert answer["score"] == pytest.approx(spans[best], abs=1e-5)
    with pytest.raises(ValueError, match="as a pair"):
        said(made, ["a b"])


def test_each_text_has_its_adapters_head() -> None:
    made, texts = model(), some_texts(8)
    for name, count in (("x", 3), ("y", 1), ("z", 2)):
        made.add_adapter(name, "seq_bn[reduction_factor=4]")
        randomise(made.adapters[name])
        add_head(made, "classification", name, num_labels=count)
    names = ["x", "y", None, "z", "y", "x", "z", "x"]
    found = said(made, texts, adapter_names=names, max_tokens=40)
    alone = [said(made, [text], adapter_names=[name])[0] for text, name in zip(texts, names, strict=True)]
    assert [type(one) for one in found] == [type(one) for one in alone]
    for one, other in zip(found, alone, strict=True):
        if isinstance(one, dict):
            assert one["label"] == other["label"] and one["score"] == pytest.approx(other["score"], abs=1e-5)
        else:
            assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("kind", head_types(model("bert")))
def test_every_kind_of_head_answers_or_says_what_does(kind: str) -> None:
    made, texts = model(), some_texts(5, 8)
    add_head(made, kind, "mine")
    if kind in ("causal_lm", "multiple_choice", "dependency_parsing"):
        with pytest.raises(ValueError, match=r"generate|choices of a question together|word_starts"):
            said(made, texts)
        return
    given: list[Any] = [(text, text) for text in texts]
    found = said(made, given, max_tokens=40)
    assert len(found) == len(given)
    if not isinstance(found[0], dict) or not isinstance(next(iter(found[0].values())), torch.Tensor):
        return
    for pair, answer in zip(given, found, strict=True):
        with torch.no_grad():
            output = made(**tokenizer()([pair], return_tensors="pt"))
        assert answer.keys() == set(output.keys())
        for key, value in answer.items():
            assert_close(value, output[key][0], key)


def test_fixed_heads_answer() -> None:
    made, texts = model("bert", "ForSequenceClassification", num_labels=3), some_texts(5)
    best = [made.config.id2label[int(logits(made, text).argmax())] for text in texts]
    assert [one["label"] for one in said(made, texts, max_tokens=12)] == best
    with pytest.raises(ValueError, match="no named heads"):
        said(made, texts, head="default")


def test_errors_say_what_is_wrong() -> None:
    made = model()
    with pytest.raises(ValueError, match="no active head"):
        said(made, ["a"])
    with pytest.raises(ValueError, match="no active head"):
        said(model("bert", "Model"), ["a"])
    add_head(made, "classification", "c")
    add_head(made, "classification", "d")
    with pytest.raises(ValueError, match="top_k must be"):
        said(made, ["a"], top_k=0)
    made.active_head = ["c", "d"]
    with pytest.raises(ValueError, match="name one by head="):
        said(made, ["a"])
    assert said(made, ["a"], head="c")[0]["label"] in ("LABEL_0", "LABEL_1", "LABEL_2")
