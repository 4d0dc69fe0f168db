"""Small random models of transformers, and ours made from their files: one case for each class of the registry."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import torch

import adapterzoo
from adapterzoo.archs import ARCHITECTURES, Architecture, StaticHead
from adapterzoo.core.config import NetworkConfig
from tests.helpers.options import switched_on

transformers = pytest.importorskip("transformers", reason="parity is with transformers")

# The first pattern that a size's name matches. The two stacks differ, so that one cannot pass for the other.
SIZES = (
    (r"vocab_size", 99),
    (r"max_position_embeddings", 40),
    (r"decoder_layers", 3),
    (r".*layers", 2),
    (r"decoder_attention_heads", 2),
    (r".*heads", 4),
    (r"intermediate_size|encoder_ffn_dim|hidden_dim", 37),
    (r"decoder_ffn_dim", 41),
    (r"embedding_size", 20),
    (r"hidden_size|d_model|dim", 32),
)


class Case(NamedTuple):
    """One class: an architecture, and one of its fixed heads or none."""

    architecture: Architecture
    static: StaticHead | None

    @property
    def name(self) -> str:
        """The class's name, here as there."""
        return self.architecture.class_name(self.static)

    @property
    def tables(self) -> Architecture:
        """The architecture's tables as the class has them."""
        lone = self.static is not None and self.static.decoder_only
        config = self.architecture.config(**({"is_decoder": True, "is_encoder_decoder": False} if lone else {}))
        return self.architecture.under(config)

    @property
    def head_type(self) -> str | None:
        """The type of the head."""
        return self.static.head_type if self.static else None

    @property
    def alone(self) -> bool:
        """Whether the architecture is one stack, which may be an encoder or a decoder."""
        return len(self.numbers.stacks()) == 1

    @property
    def numbers(self) -> NetworkConfig:
        """The usual numbers of the architecture's networks."""
        return self.architecture.network(self.architecture.config())

    @property
    def decodes(self) -> bool:
        """Whether the architecture is one stack that may be a decoder."""
        return self.alone and any(static.head_type == "causal_lm" for static in self.architecture.statics)

    @property
    def distant(self) -> bool:
        """Whether distances may count in its attention, as in DeBERTa: to transformers, padding sees nothing then."""
        return "relative_attention" in self.architecture.config.defaults

    @property
    def theirs(self) -> Any:
        """The class in transformers."""
        return getattr(transformers, self.name)

    @property
    def ours(self) -> Any:
        """The class here."""
        return getattr(adapterzoo, self.name)


CASES = [Case(kind, head) for kind in ARCHITECTURES.values() for head in kind.classes if kind.specialise is None]


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Parametrise a test over cases."""
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def each_padded(cases: list[Case]) -> pytest.MarkDecorator:
    """Parametrise a test over cases and paddings.

    Not over padding on the left where a head reads it (a row's first token) and transformers lets it see nothing.
    """
    rows = ("classification", "multiple_choice")
    both = [(case, padding) for case in cases for padding in ("right", "left", "none")]
    both = [
        (case, padding)
        for case, padding in both
        if (case.distant and case.head_type in rows, padding) != (True, "left")
    ]
    return pytest.mark.parametrize(("case", "padding"), both, ids=lambda value: getattr(value, "name", value))


def cases(*head_types: str | None) -> list[Case]:
    """The cases with a head of one of these types; None is the bare model."""
    found = [case for case in CASES if case.head_type in head_types]
    assert found, f"no class has a head of {head_types}"
    return found


def small_config(architecture: Architecture, **changes: Any) -> Any:
    """A config of transformers' with small sizes, no dropout and a LayerNorm epsilon that shows."""
    fields: dict[str, Any] = {name: _size(name) for name in architecture.config.sizes}
    for name, default in architecture.config.defaults.items():
        if isinstance(default, float) and "drop" in name:
            fields[name] = 0.0
        if name.endswith("eps"):
            fields[name] = 1e-3
    kind = getattr(transformers, architecture.config.__name__)
    if architecture.specialise is not None:
        fields |= _parts()
    return kind(**{**fields, "use_cache": False, **switched_on(architecture.config), **changes})


def _parts() -> dict[str, Any]:
    """The configs of a pair's two stacks, which differ, and what the pair's own says."""
    bert, decodes = ARCHITECTURES["bert"], {"is_decoder": True, "add_cross_attention": True}
    encoder, decoder = small_config(bert), small_config(bert, num_hidden_layers=3, intermediate_size=41, **decodes)
    return {"encoder": encoder.to_dict(), "decoder": decoder.to_dict(), "pad_token_id": 0, "decoder_start_token_id": 3}


def _size(name: str) -> int:
    return next(value for pattern, value in SIZES if re.fullmatch(pattern, name))


def peer(case: Case, **changes: Any) -> Any:
    """A model of transformers' with random weights that are large enough for any difference to show.

    One that says the next token is a decoder, unless `changes` say otherwise.
    """
    labels = 2 if case.head_type == "question_answering" else 3  # theirs needs two there: start and end
    decodes = {"is_decoder": True} if case.head_type == "causal_lm" else {}
    model = case.theirs(small_config(case.architecture, **{"num_labels": labels, **decodes, **changes})).eval()
    with torch.no_grad():
        for module in model.modules():
            scale = type(module).__name__.endswith("LayerNorm")
            for name, parameter in module.named_parameters(recurse=False):
                parameter.normal_(float(scale and name == "weight"), 0.2 if parameter.dim() > 1 else 0.3)
            for buffer in module.buffers(recurse=False):
                if buffer.is_floating_point():
                    buffer.normal_()
    return model


def pair(case: Case, folder: Path, **changes: Any) -> tuple[Any, Any]:
    """Transformers' model, and ours from its files."""
    theirs = peer(case, **changes)
    theirs.save_pretrained(folder)
    ours, report = case.ours.from_pretrained(folder, output_loading_info=True)
    assert not report.missing_keys and not report.unexpected_keys, report
    return theirs, ours


@cache
def kept_pair(case: Case, **changes: Any) -> tuple[Any, Any]:
    """The same two models for every test that only runs them; a test's random numbers stay what they were."""
    # The file is gone while its memory is mapped: where that cannot be, it is left behind.
    with torch.random.fork_rng(), TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        torch.manual_seed(1)
        return pair(case, Path(folder), **changes)
