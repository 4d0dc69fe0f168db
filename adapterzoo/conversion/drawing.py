"""What models are compared on: ids that a seed draws, or texts; and labels that it draws to fit a model's head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from adapterzoo.heads import PredictionHead
from adapterzoo.inputs import decoder_start
from adapterzoo.store import Source
from adapterzoo.tokenizer import Tokenizer

ROWS, LENGTH = 5, 16
"""Rows (or questions) that are drawn, and the tokens of the longest."""


class Rows(NamedTuple):
    """Rows without padding that labels are drawn for.

    Attributes:
        head: the head that reads them.
        inputs: `input_ids` (B, T) and what goes with them.
        vocab: how many tokens the last stack knows.
        generator: draws.
    """

    head: PredictionHead
    inputs: Mapping[str, Tensor]
    vocab: int
    generator: Generator

    @property
    def shape(self) -> torch.Size:
        """(B, T)."""
        return self.inputs["input_ids"].shape

    def below(self, count: int, *shape: int) -> Tensor:
        """Whole numbers from 0 to below `count`."""
        return torch.randint(count, shape, generator=self.generator)

    def numbers(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1."""
        return torch.rand(shape, generator=self.generator)


def _classes(rows: Rows) -> dict[str, Tensor]:
    count, config = rows.head.config["num_labels"], rows.head.config
    if config.get("problem_type", "regression" if count == 1 else None) == "regression":
        return {"labels": rows.numbers(len(rows.inputs["input_ids"]), *([count] if count > 1 else []))}
    return {"labels": rows.below(count, rows.shape[0])}


def _several(rows: Rows) -> dict[str, Tensor]:
    return {"labels": rows.below(2, rows.shape[0], rows.head.config["num_labels"]).float()}


def _words(rows: Rows) -> dict[str, Tensor]:
    return {"labels": rows.below(min(rows.vocab, rows.head.config["vocab_size"]), *rows.shape)}


def _spans(rows: Rows) -> dict[str, Tensor]:
    return {name: rows.below(rows.shape[-1], rows.shape[0]) for name in ("start_positions", "end_positions")}


def _pretraining(rows: Rows) -> dict[str, Tensor]:
    return {**_words(rows), "next_sentence_label": rows.below(2, rows.shape[0])}


def _trees(rows: Rows) -> dict[str, Tensor]:
    count, length = rows.shape
    return {
        "labels_arcs": rows.below(length + 1, count, length),
        "labels_rels": rows.below(rows.head.config["num_labels"], count, length),
    }


def _alike(rows: Rows) -> dict[str, Tensor]:
    """Each text and its neighbour, and how alike they are."""
    pairs = {name: torch.stack([tensor, tensor.roll(1, 0)], 1) for name, tensor in rows.inputs.items()}
    return {**pairs, "labels": rows.numbers(rows.shape[0])}


LABELS: dict[str, Callable[[Rows], dict[str, Tensor]]] = {
    "classification": _classes,
    "multilabel_classification": _several,
    "multiple_choice": lambda rows: {"labels": rows.below(rows.shape[1], rows.shape[0])},
    "tagging": lambda rows: {"labels": rows.below(rows.head.config["num_labels"], *rows.shape)},
    "question_answering": _spans,
    "dependency_parsing": _trees,
    "masked_lm": _words,
    "causal_lm": _words,
    "seq2seq_lm": _words,
    "next_sentence": lambda rows: {"labels": rows.below(2, rows.shape[0])},
    "pretraining": _pretraining,
    "token_detection": lambda rows: {"labels": rows.below(2, *rows.shape)},
    "similarity": _alike,
}
"""What a head learns from, by its type. Heads of other types are compared without a loss."""


def active_head(model: Any) -> PredictionHead | None:
    """A model's one head that answers; None where none does, or several do."""
    name = "default" if model.static is not None else getattr(model, "active_head", None)
    head: PredictionHead | None = model.heads_of()[name] if isinstance(name, str) else None
    return head


def drawn_inputs(model: Any, seed: int = 0) -> dict[str, Tensor]:
    """Random ids, the same for every model of a vocabulary's size and kind of head.

    Rows are of several lengths, two of them the longest, and end as texts do. For a head that answers questions with
    choices there are (questions, choices, T).
    """
    longest = min([LENGTH, *_rooms(model)])
    choices, generator = _choices(active_head(model)), torch.Generator().manual_seed(seed)
    lengths = [max(1, longest - 3 * max(0, row - 1)) for row in range(ROWS) for _ in range(choices)]
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    ids = _ids(model.config, model.base.config.first.vocab, mask, generator)
    return _fitted(model, {"input_ids": ids, "attention_mask": mask}, seed)


def text_inputs(texts: Sequence[str], source: Source, model: Any, seed: int = 0) -> dict[str, Tensor]:
    """Texts through the tokenizer that lies beside a model.

    Args:
        texts: a row each; for a head that answers questions with choices, the choices of one after the other.
        source: where the tokenizer lies.
        model: what will read them.
        seed: draws what the model needs beside them.

    Raises:
        FileNotFoundError: there is no tokenizer.
        ValueError: there are no texts, or not as many as make up questions.
    """
    if not texts:
        raise ValueError("there is no text to compare on")
    choices = _choices(active_head(model))
    if len(texts) % choices:
        raise ValueError(f"{len(texts)} texts cannot be divided into questions of {choices} choices")
    tokenizer = Tokenizer.from_pretrained(source)
    most = min([tokenizer.model_max_length, *_rooms(model)])
    encoded = tokenizer(list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt")
    return _fitted(model, {name: encoded[name] for name in ("input_ids", "attention_mask")}, seed)


def _rooms(model: Any) -> list[int]:
    """How many tokens each stack has positions for, where there is a limit."""
    return [stack.room for stack in model.base.config.stacks().values() if stack.room is not None]


def _choices(head: PredictionHead | None) -> int:
    return 1 if head is None else int(head.config.get("num_choices", 1))


def _ids(config: Any, vocab: int, mask: Tensor, generator: Generator) -> Tensor:
    """Random ids where `mask` (B, T) is 1, padding elsewhere; each row ends with <eos> if there is one."""
    padding, end = (_id(config, name, vocab) for name in ("pad_token_id", "eos_token_id"))
    ordinary = [number for number in range(vocab) if number not in (padding, end)]
    ids = torch.tensor(ordinary)[torch.randint(len(ordinary), mask.shape, generator=generator)]
    if end is not None:
        ids = ids.scatter(1, mask.sum(1, keepdim=True) - 1, end)
    return ids.masked_fill(mask == 0, padding or 0)


def _id(config: Any, name: str, vocab: int) -> int | None:
    """A special token's id; None where the model has none."""
    found = getattr(config, name, None)
    return found if isinstance(found, int) and 0 <= found < vocab else None


def _fitted(model: Any, inputs: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Inputs (B, T) as a model's head reads them, and what it needs beside them."""
    head = active_head(model)
    if model.architecture.specialise is not None:  # HF's pairs don't make a decoder's input from the encoder's
        numbers, generator = model.base.config.last, torch.Generator().manual_seed(seed)
        inputs["decoder_input_ids"] = _ids(model.config, numbers.vocab, inputs["attention_mask"], generator)
    if head is not None and "word_starts" in head.needs:  # each token is a word: padding would have to be told there
        inputs = without_padding(inputs)
        count, length = inputs["input_ids"].shape
        inputs["word_starts"] = torch.arange(length + 1).repeat(count, 1)
    choices = _choices(head)
    return inputs if choices == 1 else {name: value.unflatten(0, (-1, choices)) for name, value in inputs.items()}


def without_padding(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows, or questions, that are as long as the longest."""
    whole = inputs["attention_mask"].bool().flatten(1).all(1)
    return {name: value[whole] for name, value in inputs.items()}


def labelled(model: Any, inputs: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """What a model is called with to get its loss: of `inputs` the rows without padding, and labels that fit its head.

    With padding, libraries have several minds about what counts. {} where there is no head, or none that learns from
    labels, or no such row.
    """
    head, whole = active_head(model), without_padding(inputs)
    if head is None or head.head_type not in LABELS or not len(whole["input_ids"]):
        return {}
    generator = torch.Generator().manual_seed(seed)
    drawn = LABELS[head.head_type](Rows(head, whole, model.base.config.vocab, generator))
    if head.labels_are_inputs:
        whole.pop("decoder_input_ids", None)
    return {**whole, **drawn}


def with_decoder_input(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `labelled` gave, and the decoder's input that follows from labels: not every library makes it of them."""
    head = active_head(model)
    if not given or head is None or not head.labels_are_inputs:
        return dict(given)
    shifted = decoder_start(model.config, model.architecture.starts_with_last, given["labels"])
    return {**given, "decoder_input_ids": shifted}


def same_inputs(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two models would be called with the same."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
