"""`python -m benchmarks.encoding.ours CHECKPOINT TEXTS FOLDER`: texts encoded by adapterzoo."""

from __future__ import annotations

from functools import partial

from adapterzoo import AutoModel, AutoTokenizer, __version__, encode
from benchmarks.encoding.timing import Encode, serve

LONGEST = 256


def make(checkpoint: str) -> Encode:
    model, tokenizer = AutoModel.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    return partial(encode, model, tokenizer, normalize_embeddings=True, max_length=LONGEST, show_progress=False)


if __name__ == "__main__":
    serve(make, __version__)
