"""Encoder-decoders of two encoders: whatever the two are, they give transformers' numbers, files and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import adapterzoo
from adapterzoo.formats import hf
from tests.helpers.generating import draw_options
from tests.helpers.generating import theirs as generated_by
from tests.helpers.hf_compare import PROMISE, close, same_output
from tests.helpers.hf_models import small_config, transformers
from tests.helpers.parts import ENCODERS

DECODERS = [kind for kind in ENCODERS if any(static.head_type == "causal_lm" for static in kind.statics)]
SMALLER = {"vocab_size": 80, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
SAME = {"is_decoder": True, "add_cross_attention": True}
PAIRS = [
    *((encoder.model_type, decoder.model_type) for encoder, decoder in zip(ENCODERS, DECODERS * 2, strict=False)),
    *((kind.model_type, kind.model_type) for kind in DECODERS),
]
DRAWS = 6

pytestmark = [
    pytest.mark.parametrize(("encoder", "decoder"), sorted(set(PAIRS))),
    pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"]),
]


@pytest.fixture
def models(encoder: str, decoder: str, tied: bool, tmp_path: Path) -> tuple[Any, Any]:
    """Transformers' pair, and ours from its files."""
    if tied and encoder != decoder:
        pytest.skip("only two of a kind can be tied")
    kinds = adapterzoo.archs.ARCHITECTURES
    sizes = {} if tied else SMALLER
    first, last = small_config(kinds[encoder]), small_config(kinds[decoder], **SAME, **sizes)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(first, last)
    config.update({"tie_encoder_decoder": tied, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3})
    theirs = transformers.EncoderDecoderModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    ours, report = adapterzoo.EncoderDecoderModel.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not report.missing_keys and not report.unexpected_keys, report
    return theirs, ours


def call_for(config: Any) -> dict[str, torch.Tensor]:
    ids = torch.randint(4, min(config.encoder.vocab_size, config.decoder.vocab_size), (3, 8))
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3, [1] * 7 + [0]])
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_outputs_loss_and_gradients_are_transformers(models: tuple[Any, Any], dtype: torch.dtype) -> None:
    theirs, ours = (model.to(dtype) for model in models)
    call = call_for(ours.config)
    labels = torch.randint(4, 70, (3, 6))
    outputs = [model(**call, labels=labels) for model in models]
    for output in outputs:
        output.loss.backward()
    close(outputs[1].logits, outputs[0].logits)
    close(outputs[1].loss, outputs[0].loss)
    there = dict(theirs.named_parameters(remove_duplicate=False))
    grads = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in there.items()}
    largest = max(grad.abs().max().item() for grad in grads.values())
    for name, parameter in ours.named_parameters():
        parts = hf.foreign_names(ours.architecture, ours.static, name)
        order = hf.block_order(ours.architecture, ours.base.config, name)
        wanted = hf.gather(parts, grads, order)
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, wanted, rtol=0, atol=PROMISE * largest, msg=name)


def test_all_hidden_states_are_transformers(models: tuple[Any, Any]) -> None:
    theirs, ours = models
    call = call_for(ours.config)
    call["decoder_input_ids"] = torch.randint(4, 70, (3, 6))
    with torch.no_grad():
        found, wanted = (model(**call, output_hidden_states=True, use_cache=False) for model in (ours, theirs))
    same_output(found, wanted, encoder_mask=call["attention_mask"])


def test_files_go_to_and_fro_bit_for_bit(models: tuple[Any, Any], tmp_path: Path) -> None:
    theirs, ours = models
    ours.save_pretrained(tmp_path / "ours")
    kind = transformers.EncoderDecoderModel
    back, info = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    there = dict(theirs.named_parameters())
    assert all(torch.equal(parameter, there[name]) for name, parameter in back.named_parameters())


@pytest.mark.filterwarnings("ignore::UserWarning:transformers.generation")
def test_the_same_tokens_are_generated(models: tuple[Any, Any]) -> None:
    there, here = (model.double() for model in models)  # of beams that are nearly as likely, float32 picks by rounding
    call = call_for(here.config)
    for number in range(DRAWS):
        options = draw_options(number, sampling=number % 2 == 1)
        expected = generated_by(there, call, options, number)
        torch.manual_seed(number)
        assert torch.equal(here.generate(**call, **options), expected), options


def test_the_head_becomes_flexible_and_fixed_again(models: tuple[Any, Any]) -> None:
    _, ours = models
    call = {**call_for(ours.config), "labels": torch.randint(4, 70, (3, 6))}
    flexible = ours.to_flexible()
    fixed = flexible.to_static()
    state = ours.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in fixed.state_dict().items())
    with torch.no_grad():
        assert torch.equal(flexible(**call).logits, ours(**call).logits)
        assert torch.equal(fixed(**call).loss, ours(**call).loss)
