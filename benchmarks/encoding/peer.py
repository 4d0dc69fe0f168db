"""`python -m benchmarks.encoding.peer CHECKPOINT TEXTS FOLDER`: texts encoded by sentence-transformers."""

from __future__ import annotations

from functools import partial

import sentence_transformers

from benchmarks.encoding.timing import Encode, serve

LONGEST = 256  # what its own file says of the checkpoint; where another lies, it is the same


def make(checkpoint: str) -> Encode:
    model = sentence_transformers.SentenceTransformer(checkpoint, device="cpu")
    model.max_seq_length = LONGEST
    return partial(model.encode, normalize_embeddings=True, show_progress_bar=False)


if __name__ == "__main__":
    serve(make, sentence_transformers.__version__)
