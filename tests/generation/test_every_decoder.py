"""Every kind of decoder says the same with a cache and without: under adapters, and in half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapterzoo import AdapterSetup, Stack
from tests.helpers.adapting import CONFIGS, add_random
from tests.helpers.generating import distinct_decoders, generator_of, prompt_of
from tests.helpers.tiny import ALONE, decoders

EVERY = [*decoders(), *ALONE]
METHODS = ("lora", "bn_everywhere", "prefix_tuning", "ia3", "noreft", "prompt_tuning")
ALL = Stack("lora", "prefix_tuning", "bn_everywhere")
BEAMS = {"num_beams": 3, "num_return_sequences": 2}
# No token comes twice: else small random models say one word all the time, whatever an adapter does.
STILL = {"eos_token_id": None, "forced_eos_token_id": None, "max_new_tokens": 5, "no_repeat_ngram_size": 1}
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
ROUNDINGS = 16  # of the largest logit: layers, each of which rounds several times


def test_every_kind_of_decoder_is_here() -> None:
    assert {*distinct_decoders()} < {*EVERY}


def furnished(kind: str) -> Any:
    """A decoder with some methods, in doubles, and a head for the next token."""
    model = generator_of(kind)
    for name in METHODS:
        add_random(model, name, CONFIGS[name])
    return model.double()


# Under all methods and compositions: test_adapters.py, which takes one decoder of each build.
@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind not in distinct_decoders()])
def test_a_cache_changes_nothing_under_adapters(kind: str) -> None:
    model = furnished(kind)
    inputs = prompt_of(model)
    with torch.no_grad():
        bare = model(**inputs).logits
    for setup, options in [*((name, {}) for name in METHODS), (ALL, BEAMS)]:
        with AdapterSetup(setup), torch.no_grad():
            assert not torch.equal(model(**inputs).logits, bare), f"{setup} does nothing"
            cached = model.generate(**inputs, **STILL, **options)
            assert torch.equal(model.generate(**inputs, **STILL, **options, use_cache=False), cached), setup


@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "weights"])
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("kind", EVERY)
def test_a_cache_changes_nothing_but_the_rounding_in_half_precision(kind: str, half: str, autocast: bool) -> None:
    dtype = HALVES[half]
    model = furnished(kind).to(torch.float32 if autocast else dtype)
    inputs = {name: t.to(model.dtype) if t.is_floating_point() else t for name, t in prompt_of(model).items()}
    asked = {"return_dict_in_generate": True, "output_logits": True}
    with AdapterSetup(Stack("lora", "prefix_tuning")), torch.autocast("cpu", dtype=dtype, enabled=autocast):
        found, law = (model.generate(**inputs, **STILL, **asked, use_cache=use) for use in (True, False))
    steps, first = len(law.logits), law.sequences.size(1) - len(law.logits)
    same = torch.ones(len(law.sequences), dtype=torch.bool)
    for step in range(steps):
        within = ROUNDINGS * torch.finfo(dtype).eps * law.logits[step].abs().amax(1)
        apart = (found.logits[step] - law.logits[step]).abs().amax(1)
        assert (apart <= within)[same].all(), f"step {step}: {apart} of {within}"
        chosen, wanted = (output.sequences[:, first + step] for output in (found, law))
        lost = margin(law.logits[step], wanted, chosen)
        assert (lost <= 2 * within)[same].all(), f"step {step}: another token, less likely by {lost}"
        same &= chosen == wanted  # from there on, the texts are others
    assert same.any(), "hardly anything was compared"


def margin(logits: Tensor, wanted: Tensor, chosen: Tensor) -> Tensor:
    """By how much the one token is likelier than the other, (R,)."""
    return (logits.gather(1, wanted[:, None]) - logits.gather(1, chosen[:, None]))[:, 0]
