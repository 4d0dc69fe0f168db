"""The guide to adding a model is true: its file, in a copy of the package, makes a model that is transformers'."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapterzoo.archs import ARCHITECTURES
from tools.took import length_of, source_of

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")

CHECK = """
import sys, torch, transformers, adapterzoo
from adapterzoo.archs import ARCHITECTURES
from adapterzoo.methods import PRESETS

torch.manual_seed(0)
kind = ARCHITECTURES["roberta-prelayernorm"]
sizes = dict(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)
ids = torch.randint(4, 50, (3, 9))
mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 7 + [0] * 2])
call = {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}
for static in kind.classes:
    name = kind.class_name(static)
    theirs = getattr(transformers, name)(transformers.RobertaPreLayerNormConfig(**sizes)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    theirs.save_pretrained(name)
    ours, report = getattr(adapterzoo, name).from_pretrained(name, output_loading_info=True)
    assert not report.missing_keys and not report.unexpected_keys, report
    choices = static is not None and static.head_type == "multiple_choice"
    given = {key: value[:, None].repeat(1, 2, 1) if choices else value for key, value in call.items()}
    with torch.no_grad():
        found, wanted = ours(**given)[0], theirs(**given)[0]
    real = mask.bool() if found.shape[:2] == mask.shape else slice(None)
    torch.testing.assert_close(found[real], wanted[real], rtol=1e-5, atol=1e-5, msg=name)
    ours.save_pretrained("back")
    there = getattr(transformers, name).from_pretrained("back").state_dict()
    assert all(torch.equal(tensor, there[key]) for key, tensor in theirs.state_dict().items()), name
    print(name)
    if static is None:
        with torch.no_grad():
            found, wanted = (model(**call, output_hidden_states=True).hidden_states for model in (ours, theirs))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one[real], other[real], rtol=1e-5, atol=1e-5)
parts = [transformers.RobertaPreLayerNormConfig(**sizes) for _ in range(2)]
pair = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(*parts)
pair.update({"tie_encoder_decoder": True, "pad_token_id": 1, "decoder_start_token_id": 3})
theirs = transformers.EncoderDecoderModel(pair).eval()
theirs.save_pretrained("pair")
ours = adapterzoo.EncoderDecoderModel.from_pretrained("pair")
with torch.no_grad():
    found, wanted = (model(**call, decoder_input_ids=ids).logits for model in (ours, theirs))
torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
model = adapterzoo.AutoAdapterModel.from_pretrained(kind.class_name())
bare = model(**call).last_hidden_state
for preset in PRESETS:
    model.add_adapter(preset, preset, set_active=True)
    for parameter in model.adapters[preset].parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    after = model(**call).last_hidden_state
    assert not torch.allclose(after, bare), preset
    model.save_adapter("adapter", preset)
    model.load_adapter("adapter", load_as="again", set_active=True)
    assert torch.equal(model(**call).last_hidden_state, after), preset
"""


@pytest.fixture(scope="module")
def code() -> str:
    """The file that the guide writes."""
    (found,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def copy_with(code: str, folder: Path, *parts: str) -> None:
    """Copy parts of the repository, and add the guide's file."""
    for part in parts:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    name = re.findall(r"`adapterzoo/archs/(\w+\.py)`:", TEXT)[0]
    (folder / "adapterzoo" / "archs" / name).write_text(code, encoding="utf-8")


def said(folder: Path, *words: str) -> str:
    """What Python says, run in such a copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-2000:]
    return run.stdout


def test_the_file_makes_a_model_that_is_transformers(code: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the guide's model is compared with transformers'")
    copy_with(code, tmp_path, "adapterzoo")
    assert len(said(tmp_path, "-c", CHECK).split()) == 7


SAVE = """
import adapterzoo

sizes = dict(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)
adapterzoo.RobertaPreLayerNormForTokenClassification(
    adapterzoo.RobertaPreLayerNormConfig(**sizes, max_position_embeddings=20)
).save_pretrained("there")
"""
TESTED = ["laws/test_06_formats.py", "parity_hf/test_state_dicts.py", "test_readme.py"]


@pytest.mark.slow
def test_tables_commands_and_tests_find_the_model(code: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the guide's model is compared with transformers'")
    whole = ["adapterzoo", "weights_conversion", "tests", "tools", "docs", "README.md", "pyproject.toml"]
    copy_with(code, tmp_path, *whole)
    said(tmp_path, "-m", "tools.stubs")
    said(tmp_path, "-m", "tools.tables")
    for file in ("README.md", "docs/models.md"):
        assert "| `roberta-prelayernorm` |" in (tmp_path / file).read_text(encoding="utf-8")
    assert "RobertaPreLayerNormAdapterModel" in (tmp_path / "adapterzoo" / "zoo.pyi").read_text(encoding="utf-8")
    said(tmp_path, "-c", SAVE)
    told = said(tmp_path, "-m", "weights_conversion", "inspect", "there")
    assert "RobertaPreLayerNormForTokenClassification" in told and "roberta_prelayernorm.encoder.layer." in told
    said(tmp_path, "-m", "weights_conversion", "convert", "there", "here", "-q")
    assert (tmp_path / "here" / "heads" / "default" / "head_config.json").exists()
    files = [f"tests/{file}" for file in TESTED]
    told = said(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "-k", "prelayernorm or tables", *files)
    assert int(re.findall(r"(\d+) passed", told)[0]) > 50


def test_the_file_is_as_short_as_the_guide_promises(code: str) -> None:
    assert code.count("\n") < 100


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_s_file_is_as_short(name: str) -> None:
    assert length_of(source_of(ARCHITECTURES[name])[0]) < 100


def test_what_the_guide_speaks_of_is_there() -> None:
    for path in re.findall(r"`((?:nn|core|archs)/\w+\.py)`", TEXT):
        assert (ROOT / "adapterzoo" / path).exists(), path
