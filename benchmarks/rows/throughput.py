"""`adapterzoo.encode` beside sentence-transformers' `encode`, on the trained MiniLM: normalised means of the tokens.

Two processes have the model loaded and encode the corpora in turns; only that is timed, from texts to the array of
vectors, with each library's own defaults. Texts are cut off at 256 tokens in both. Both sort by length; sentence-
transformers makes batches of 32 texts, ours are of 2,048 tokens. The plot says how that number was found.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from adapterzoo import AutoModel, encode
from benchmarks.encoding.ours import LONGEST
from benchmarks.models import minilm_folder, tokenizer
from benchmarks.results import Result, Row
from benchmarks.texts import CORPORA, corpora
from benchmarks.turns import Times, environment, python, several_in_turns

TITLE = "11. Throughput: many texts to vectors"
PEER_PYTHON = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"
BUDGETS = (256, 512, 1024, 2048, 4096, 8192, 16384)
NOTES = """
sentence-transformers sorts by length, too, so that on texts of about one length there is little padding to leave out.
The gain there is in the products (oneDNN's instead of MKL's, with GELU in the same step) and in attention without
padding.

Batches of exactly equal lengths, which need neither a mask nor scattering, were no quicker; cut where lengths change,
they are smaller. Tokenising beside the model in a thread has about 1 % to gain.
"""


def run(row: Row, pairs: int) -> None:
    """The corpora in pairs of processes; then tokens a second by the size of a batch."""
    _beside_peer(row, pairs)
    row.add_series("Tokens a second by tokens of a batch (MiniLM)", "tokens of a batch", "tokens/s", _by_budget())


def _sentences(corpus: str) -> list[str]:
    return [text for row in CORPORA[corpus]() for text in ([row] if isinstance(row, str) else row)]


def texts() -> dict[str, list[str]]:
    """What is encoded: single texts of about one length, and of lengths that differ."""
    found = {"film reviews": _sentences("film reviews")}
    if "MRPC" in corpora():
        found["MRPC's sentences"] = _sentences("MRPC")[:300]
        parts = _sentences("film reviews")[:96], _sentences("MRPC")[:96], _sentences("SciTLDR")[:12]
        found["mixed: reviews, MRPC's sentences, SciTLDR"] = [text for part in parts for text in part]
    return found


def _beside_peer(row: Row, pairs: int) -> None:
    if not PEER_PYTHON.exists():
        raise SystemExit(f"there is no {PEER_PYTHON}; `make bench` makes it")
    data = texts()
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "texts.json"
        given.write_text(json.dumps(data), "utf-8")
        ours = Process(python("-m", "benchmarks.encoding.ours"), given)
        theirs = Process([str(PEER_PYTHON), "-m", "benchmarks.encoding.peer"], given)
        with ours, theirs:
            for name, part in data.items():
                _compare(row, name, len(part), ours, theirs, pairs)


def _compare(row: Row, name: str, count: int, ours: Process, theirs: Process, pairs: int) -> None:
    rates, difference = Times([], []), 0.0
    for pair in tqdm(range(pairs), desc=name, leave=False, disable=None):
        turns = [(ours, rates.ours), (theirs, rates.theirs)]
        for process, kept in turns if pair % 2 == 0 else turns[::-1]:
            kept.append(count / process.seconds(name))
        difference = max(difference, float(np.abs(ours.vectors() - theirs.vectors()).max()))
    peer, note = f"sentence-transformers {theirs.version}", f"{count} texts"
    checked: dict[str, Any] = {"difference": difference, "tolerance": 1e-5, "note": note}
    row.add(Result(case=name, peer=peer, **rates.as_fields(1, "texts/s"), target=1.3, more_is_better=True, **checked))


class Process:
    """A process that has a model loaded and encodes a corpus when it is told to.

    Args:
        command: its command.
        texts: the file of the corpora.
    """

    def __init__(self, command: list[str], texts: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=texts.parent))
        whole = [*command, str(minilm_folder()), str(texts), str(self.folder)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(whole, stdin=pipe, stdout=pipe, text=True, env=environment())
        self.version = self._told()["version"]

    def seconds(self, corpus: str) -> float:
        """How long it takes to encode a corpus."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{corpus}\n")
        self.process.stdin.flush()
        return float(self._told()["seconds"])

    def vectors(self) -> Any:
        """What came of it, (N, D)."""
        return np.load(self.folder / "vectors.npy")

    def _told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}; see its messages above")
        told: dict[str, Any] = json.loads(line)
        return told

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _by_budget() -> dict[str, list[tuple[float, float]]]:
    tokens, lines = tokenizer(), {}
    model = AutoModel.from_pretrained(minilm_folder())
    for name, found in texts().items():
        part = found[:204]
        count = sum(map(len, tokens(part, truncation=True, max_length=LONGEST)["input_ids"]))
        run = partial(encode, model, tokens, part, max_length=LONGEST, show_progress=False)
        tasks = {str(budget): partial(run, max_tokens=budget) for budget in BUDGETS if budget < 2 * count}
        times = several_in_turns(tasks, 2, warmup=0)
        lines[name] = [(float(budget), count / min(taken)) for budget, taken in times.items()]
    return lines
