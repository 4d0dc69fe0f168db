"""Making heads flexible or fixed takes little memory, too, though a head of words may share a large tensor."""

from __future__ import annotations

from pathlib import Path

import pytest

import adapterzoo
from tests.conversion.test_memory import MEASURED
from tests.conversion.test_memory import pytestmark as pytestmark
from tests.helpers.converting import peak_of


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of some 280 MB, of which a head of words shares the embedding."""
    folder = tmp_path_factory.mktemp("speaking")
    config = adapterzoo.BertConfig(vocab_size=20000, hidden_size=1024, intermediate_size=4096, num_attention_heads=16)
    config.num_hidden_layers = 4
    adapterzoo.BertForMaskedLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flexible(speaking: Path) -> Path:
    """The same with a flexible head, in whose files the embedding lies once more, and an adapter."""
    folder = speaking.parent / "flexible"
    model = adapterzoo.AutoAdapterModel.from_pretrained(speaking, convert_head=True)
    model.add_adapter("a", "lora")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("flexible", "hf"),
        pytest.param("speaking", "adapterhub", marks=pytest.mark.slow),
        pytest.param("flexible", "adapterhub", marks=pytest.mark.slow),
        pytest.param("speaking", "adapterzoo", marks=pytest.mark.slow),
    ],
)
def test_no_head_is_held_as_a_whole(name: str, to: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source: Path = request.getfixturevalue(name)
    size = (source / "model.safetensors").stat().st_size
    assert size > 250 << 20
    peak = peak_of(MEASURED, "convert", source, tmp_path / "dst", "--to", to, "-q")
    assert peak < 0.3 * size + 300e6, f"{peak / 1e6:.0f} MB for a checkpoint of {size / 1e6:.0f} MB"
