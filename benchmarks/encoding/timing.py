"""What both processes have in common: texts from a file, a clock, vectors into a file.

It runs in both environments, of which only ours has adapterzoo.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Encode = Callable[[list[str]], Any]


def serve(make: Callable[[str], Encode], version: str) -> None:
    """Encode a corpus whenever a line of stdin names one, and print how long it took; first, print the version.

    The command's arguments are the checkpoint, a JSON file with texts by corpus, and a folder for the vectors.

    Args:
        make: loads a model and returns what encodes texts with it: normalised vectors (N, D).
        version: whose.
    """
    checkpoint, texts, folder = sys.argv[1:]
    corpora = json.loads(Path(texts).read_text("utf-8"))
    encode = make(checkpoint)
    for corpus in corpora.values():
        encode(corpus[:64])
    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        vectors = encode(corpora[line.rstrip("\n")])
        seconds = time.perf_counter() - start
        np.save(Path(folder) / "vectors.npy", vectors)
        print(json.dumps({"seconds": seconds}), flush=True)
