"""Load a trained adapter with its head into a fresh model and classify film reviews with it.

python -m examples.predict --adapter demo-output/adapter --logits demo-output/logits.safetensors
python -m examples.predict --adapter demo-output/adapter --text "An honest, moving film."
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from adapterzoo import AutoAdapterModel, AutoTokenizer
from examples.reviews import LABELS, batched, read, tokenize_with
from examples.training import accuracy, logits_of
from examples.weights import minilm

THREADS = 2


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Classify film reviews with a trained adapter.")
    parser.add_argument("--adapter", type=Path, required=True, help="the folder of the saved adapter")
    parser.add_argument("--logits", type=Path, help="write the logits of the test split to this file")
    parser.add_argument("--text", nargs="*", default=[], help="sentences to classify")
    return parser.parse_args()


def main() -> None:
    """Load the base model and the adapter, then classify the test split, the given sentences, or both."""
    arguments = parse()
    torch.set_num_threads(THREADS)
    tokenize = tokenize_with(AutoTokenizer.from_pretrained(minilm()))
    model = AutoAdapterModel.from_pretrained(minilm())
    name = model.load_adapter(arguments.adapter, set_active=True)
    model.eval()
    if arguments.logits:
        batches = batched(read("test"), tokenize)
        logits = logits_of(model, batches)
        save_file({"logits": logits}, arguments.logits)
        print(f"new process: adapter {name!r}, accuracy on the test split {accuracy(logits, batches):.3f}")
    for text in arguments.text:
        with torch.no_grad():
            chances = model(**tokenize([text])).logits.softmax(dim=-1)[0]
        best = int(chances.argmax())
        print(f"{LABELS[best]} ({chances[best]:.2f}): {text}")


if __name__ == "__main__":
    main()
