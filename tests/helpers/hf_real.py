"""Real checkpoints with the classes of transformers that they are for, and real or random batches for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.conftest import found_or_skip
from tests.helpers import real
from tests.helpers.hf_batches import batch, labels_for
from tests.helpers.hf_models import CASES, Case, transformers

TEXTS = [
    "The film was a delight from its first scene to its last.",
    "Dull.",
    "I wouldn't see it again; the music, though, was lovely.",
]
SPELLED = {"hello": "hˈɛlQ", "transformer": "tɹɑːnsfˈɔːmə", "wikipedia": "wɪkɪpˈiːdɪə"}


class Checkpoint(NamedTuple):
    """A checkpoint, and a class to load it into.

    Attributes:
        name: what to call it.
        class_name: the class.
        folder: where it lies; skips if it is not there.
        inputs: a batch with labels, from the folder and transformers' config.
        options: what transformers must be told.
    """

    name: str
    class_name: str
    folder: Callable[[], Path]
    inputs: Callable[[Case, Path, Any], dict[str, Tensor]]
    options: dict[str, Any] = {}  # noqa: RUF012 - read only

    @property
    def case(self) -> Case:
        """The class."""
        return next(case for case in CASES if case.name == self.class_name)

    def theirs(self, folder: Path | None = None) -> Any:
        """Transformers' model."""
        model, info = self.case.theirs.from_pretrained(
            folder or self.folder(), output_loading_info=True, **self.options
        )
        assert not info["missing_keys"]
        return model.eval()


def texts(case: Case, folder: Path, config: Any) -> dict[str, Tensor]:
    """Sentences, as the checkpoint's own tokenizer gives them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def random_ids(case: Case, folder: Path, config: Any) -> dict[str, Tensor]:
    """Random tokens; the checkpoint's tokens are chemistry."""
    inputs = batch(config, length=40)
    return {**inputs, **labels_for(case, config, inputs)}


def words(case: Case, folder: Path, config: Any) -> dict[str, Tensor]:
    """Words by their letters, and how they are spoken: the checkpoint's config says which id is which."""

    def ids(letters: str, alphabet: str, ends: tuple[int, ...]) -> Tensor:
        known = [alphabet.index(letter) for letter in letters if letter in alphabet]
        return torch.tensor([*ends[:-1], *known, ends[-1]])

    start, end = config.bos_token_id, config.eos_token_id
    written = [ids(word, config.grapheme_chars, (start, end)) for word in SPELLED]
    spoken = [ids(sound, config.phoneme_chars, (end,)) for sound in SPELLED.values()]
    pad = torch.nn.utils.rnn.pad_sequence
    input_ids = pad(written, batch_first=True, padding_value=config.pad_token_id)
    mask = (input_ids != config.pad_token_id).long()
    return {"input_ids": input_ids, "attention_mask": mask, "labels": pad(spoken, batch_first=True, padding_value=-100)}


def rxnfp(name: str) -> Callable[[], Path]:
    """Where one of rxnfp's BERTs lies."""
    return lambda: found_or_skip(real.rxnfp_dir, name)


def bart() -> Path:
    """Where a BART that speaks words lies."""
    folder = found_or_skip(real.shared_dir) / "checkpoints" / "bart-g2p-gb"
    if not folder.is_dir():
        pytest.skip("the shared data have no BART")
    return folder


CHECKPOINTS = [
    Checkpoint("minilm", "BertModel", lambda: found_or_skip(real.minilm_dir), texts),
    Checkpoint("rxnfp-bare", "BertModel", rxnfp("bert_ft"), random_ids),
    Checkpoint("rxnfp-pretrained", "BertForPreTraining", rxnfp("bert_pretrained"), random_ids),
    Checkpoint("rxnfp-words", "BertForMaskedLM", rxnfp("bert_pretrained"), random_ids),
    # Its config.json names two labels and counts fifty, which it has; transformers goes by the names.
    Checkpoint("rxnfp-50", "BertForSequenceClassification", rxnfp("bert_ft_10k_25s"), random_ids, {"num_labels": 50}),
    Checkpoint("bart-words", "BartForConditionalGeneration", bart, words),
]
