"""Without gradients, what a projection gave is written over where nobody else looks at it: values stay the same."""

from __future__ import annotations

import pytest
import torch

from adapterzoo import Average, Stack
from adapterzoo.core.run import Ctx
from adapterzoo.nn.layout import Layout
from adapterzoo.plan import bundles
from tests.helpers.adapting import CONFIGS, KINDS, add_all, add_random
from tests.helpers.batches import batch_for
from tests.helpers.comparing import assert_close
from tests.helpers.tiny import DISTINCT, tiny_model

SAMPLE = [name for name in ("bert", "bart") if name in DISTINCT]


@pytest.fixture(scope="module", params=SAMPLE)
def model(request):
    torch.manual_seed(0)
    return add_all(tiny_model(request.param)).double().eval()


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_a_forward_with_gradients(model, kind, padding_free):
    model.padding_free = padding_free
    batch = batch_for(model)
    for setup in (Stack(kind), Stack(kind, "lora"), Average(kind, "ia3", weights=[0.3, 0.7])):
        try:
            model.set_active_adapters(setup)
        except ValueError:  # a mean of prompts or prefixes and of what adds none
            continue
        with torch.no_grad():
            found = model(**batch)[0]
        assert_close(found, model(**batch)[0], str(setup))
    for name in ("ia3", "lora"):
        names = [kind, name] * (len(batch["input_ids"]) // 2)
        with torch.no_grad():
            rows = model(**batch, adapter_names=names)[0]
        assert_close(rows, model(**batch, adapter_names=names)[0], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_stacks_in_the_same_memory_are_as_good(model, kind, monkeypatch):
    monkeypatch.setattr(bundles, "LARGE", 1)
    batch = batch_for(model)
    name = f"other-{kind}"
    if name not in model.adapters:
        add_random(model, name, CONFIGS[kind])
        model.double().eval()
    names = [name, kind] * (len(batch["input_ids"]) // 2)
    with torch.no_grad():
        found = model(**batch, adapter_names=names)[0]
    assert_close(found, model(**batch, adapter_names=names)[0], kind)


@torch.no_grad()
def test_what_lies_in_lent_memory_is_copied():
    class Replaces:
        """A unit whose value is its weight."""

        def tensors(self, ctx):
            return (torch.ones(2, 3),)

        def __call__(self, value, ctx, *stacks):
            return stacks[0]

    layout = Layout(2, 2, None, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "LARGE", 1)
        out = bundles.acting([Replaces(), Replaces()], torch.zeros(2, 2, 3), Ctx(layout, None))
    (room,) = layout.kept["room"].values()
    assert room.untyped_storage().data_ptr() != out.untyped_storage().data_ptr()
    room.zero_()
    assert out.eq(1).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["ia3", "lora_all", "bitfit"])
def test_who_looks_on_sees_what_the_projection_gave(model, kind):
    model.set_active_adapters(kind)
    batch, seen, module = batch_for(model), [], model.base.encoder[0].mlp.up
    handle = module.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].clone(), output)))
    hooked = model(**batch)[0]
    handle.remove()
    assert_close(hooked, model(**batch)[0])
    ((x, y),) = seen
    assert_close(y, torch.nn.functional.linear(x, module.weight, module.bias))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "part"), [("dora", "attn.qkv"), ("seq_bn", None), ("par_bn", None)])
def test_hooks_are_called_and_keep_what_they_saw(model, kind, part):
    model.set_active_adapters(kind)
    batch, seen = batch_for(model), []
    if part is None:  # an adapter's own layer
        found = [one for name, one in model.adapters[kind].named_modules() if name.endswith(".up")]
    else:
        found = [one for name, one in model.base.encoder.named_modules() if name.endswith(part)]
    plain = model(**batch)[0]

    def hook(module, inputs, output):
        one = output if isinstance(output, torch.Tensor) else output[0]
        seen.append((one, one.clone()))

    handle = found[0].register_forward_hook(hook)
    assert_close(model(**batch)[0], plain)
    handle.remove()
    assert len(seen) == 1
    assert_close(*seen[0])
