"""New tokens a second of a BART: greedy and with 4 beams, for batches of 1, 8 and 32 film reviews, encoder included.

BART-base has random weights, with larger position embeddings, so that it does not say one word all the time, and says
a fixed number of tokens. The small one is trained: it spells words into sounds, and ends where it ends. Both sides keep
keys and values, and say the same, token for token, in the same run. "LoRA": unmerged, the same in PEFT, through its
files; "seq_bn": the same in adapters, through AdapterHub's files, under its class with a fixed head, and under its
class with a flexible head, which does not use its cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapters
import peft
import torch
import transformers
from torch import Tensor

from adapterzoo import BartForConditionalGeneration
from benchmarks.machine import device
from benchmarks.models import bart_base_folder, tokenizer
from benchmarks.peers import ADAPTERS, moved
from benchmarks.results import Result, Row
from benchmarks.texts import SHARED, batches
from benchmarks.turns import Times, several_in_turns

TITLE = "8. Generation"
HF = f"transformers {transformers.__version__}"
PEFT = f"PEFT {peft.__version__}"
TARGET = 1.5
NEW = {1: 24, 8: 12, 32: 6}
"""New tokens by the batch's rows: as many as turns of about a second allow."""

NOTES = """
A step reads all of the decoder's weights: 352 MB with the scoring of BART's 50,265 words. On an AMD EPYC with two
threads, where a sum of floats reads 27 GB/s, MKL's products of one row read 11 to 16 GB/s, and those of four rows with
the vocabulary 5.5. oneDNN's took 0.34 to 0.69 of MKL's time at 1 to 64 rows of width 768.

Besides, beams share the keys and values of what cross-attention looks at, and a step checks and lays out nothing anew.

The small trained model has one layer of width 128. Where it misses the target there is no large thing to gain: in a
profile of 8 rows, a step of 0.9 ms was products by a fifth and attention by a twentieth, the rest small calls; with 4
beams for each of 32 rows, products took 28 %, and the rest is spread over gathering, sorting and Python.
"""

Call = Callable[[], Tensor]


@torch.no_grad()
def run(row: Row, pairs: int) -> None:
    """Bare, with a LoRA, with a bottleneck; a trained model."""
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as files:
        folder = _lively(Path(files) / "bart")
        theirs = transformers.BartForConditionalGeneration.from_pretrained(folder).eval().to(device())
        ours = BartForConditionalGeneration.from_pretrained(folder).to(device())
        for beams in (1, 4):
            for rows in NEW:
                _compare(
                    row, f"BART-base, bare, {rows} × {_way(beams)}", ours, {HF: theirs}, _reviews(rows, beams), pairs
                )
        with_lora = _with_lora(ours, theirs, Path(files) / "lora")
        for beams in (1, 4):
            case = f"BART-base, LoRA, 8 × {_way(beams)}"
            _compare(row, case, ours, {f"{PEFT} and {HF}": with_lora}, _reviews(8, beams), pairs)
        with_lora.unload()
        peers = {HF: theirs, **_with_bottlenecks(ours, folder, Path(files) / "seq_bn")}
        _compare(row, "BART-base, seq_bn, 8 × greedy", ours, peers, _reviews(8, 1), pairs)
    _spelling(row, pairs)


def _way(beams: int) -> str:
    return "greedy" if beams == 1 else f"{beams} beams"


def _lively(folder: Path) -> Path:
    """A BART-base that tells positions well apart: with random weights it would say one word all the time."""
    model = transformers.BartForConditionalGeneration.from_pretrained(bart_base_folder())
    model.model.decoder.embed_positions.weight.mul_(10)
    model.model.encoder.embed_positions.weight.mul_(10)
    model.save_pretrained(folder)
    return folder


def _reviews(rows: int, beams: int) -> dict[str, Any]:
    """A batch of film reviews, and how to go on. The pieces of words are not BART's, but their number is much alike."""
    inputs = batches(tokenizer(), "film reviews", rows, 1)[0]
    given = {name: inputs[name].to(device()) for name in ("input_ids", "attention_mask")}
    return {**given, "num_beams": beams, "min_new_tokens": NEW[rows], "max_new_tokens": NEW[rows]}


def _compare(row: Row, case: str, ours: Any, peers: dict[str, Any], given: dict[str, Any], pairs: int) -> None:
    """Our tokens a second against each peer's, which must say the same where they have our weights and adapters."""

    def call(model: Any) -> Call:
        return lambda: model.generate(**given)

    said = call(ours)()
    new = int((said[:, 1:] != ours.config.pad_token_id).sum())
    bare = len(peers) > 1  # the first one is the same model without the adapter
    differ = {peer: _unlike(said, call(model)()) for peer, model in peers.items()}
    tasks = {"ours": call(ours), **{peer: call(model) for peer, model in peers.items()}}
    times = several_in_turns(tasks, pairs, warmup=0, device=said.device)  # all ran just now
    for number, peer in enumerate(peers):
        slow = "flexible" in peer
        against = Times([new / t for t in times["ours"]], [new / t for t in times[peer]])
        alike = {} if bare and number == 0 else {"difference": differ[peer], "tolerance": 0.0}
        name = f"{peer} without it" if bare and number == 0 else peer
        goal = None if slow else TARGET
        fields = against.as_fields(1, "tokens/s")
        row.add(Result(case=case, peer=name, **fields, target=goal, more_is_better=True, **alike))


def _unlike(ours: Tensor, theirs: Tensor) -> float:
    """How many tokens differ."""
    return float((ours != theirs).sum()) if ours.shape == theirs.shape else float("inf")


def _with_lora(ours: Any, theirs: Any, folder: Path) -> Any:
    """Transformers' model with a LoRA of PEFT's, which ours has, too, and uses."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(theirs, config).eval()
    wrapped.save_pretrained(folder)
    ours.set_active_adapters(ours.load_adapter(folder, load_as="lora"))
    return wrapped


def _with_bottlenecks(ours: Any, folder: Path, files: Path) -> dict[str, Any]:
    """Adapters' two models with a bottleneck adapter that ours has, too, and uses."""
    torch.manual_seed(0)
    ours.add_adapter("bn", "seq_bn")
    moved(ours.adapters["bn"])
    ours.save_adapter(files, "bn")
    ours.set_active_adapters("bn")
    fixed = transformers.BartForConditionalGeneration.from_pretrained(folder)
    adapters.init(fixed)
    flexible = adapters.AutoAdapterModel.from_pretrained(folder)
    found = {f"{ADAPTERS}, fixed head": fixed, f"{ADAPTERS}, flexible head": flexible}
    for model in found.values():
        model.load_adapter(str(files), load_as="bn", use_safetensors=True)
        model.set_active_adapters("bn")
        model.eval().to(device())
    return found


def _spelling(row: Row, pairs: int) -> None:
    """A trained model of one layer, where it is at hand."""
    folder = SHARED.parent / "checkpoints" / "bart-g2p-gb"
    if not folder.is_dir():
        return
    theirs = transformers.BartForConditionalGeneration.from_pretrained(folder).eval().to(device())
    ours = BartForConditionalGeneration.from_pretrained(folder).to(device())
    for beams in (1, 4):
        for rows in NEW:
            given = {**_words(rows, ours.config), "num_beams": beams, "max_new_tokens": 60}
            _compare(row, f"a small trained one, bare, {rows} × {_way(beams)}", ours, {HF: theirs}, given, pairs)


def _words(rows: int, config: Any) -> dict[str, Tensor]:
    """Words of the film reviews by their letters."""
    text = tokenizer().batch_decode(batches(tokenizer(), "film reviews", 32, 1)[0]["input_ids"], True)
    words = sorted({word for line in text for word in line.split() if word.isalpha() and word.isascii()})
    words = [word for word in words if set(word) <= set(config.grapheme_chars[4:])][::5][:rows]
    spelt = [[config.bos_token_id, *map(config.grapheme_chars.index, word), config.eos_token_id] for word in words]
    ids = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, spelt)), True, config.pad_token_id).to(device())
    return {"input_ids": ids, "attention_mask": (ids != config.pad_token_id).long()}
