"""Train an adapter on film reviews, reload it in a new process, and give a published BERT a flexible head."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from adapterzoo import AutoAdapterModel, AutoTokenizer
from examples import plot, reactions, report
from examples.predict import THREADS
from examples.reviews import LABELS, Data, batched, majority_accuracy, read, tokenize_with
from examples.training import History, train
from examples.weights import minilm, reaction_bert

ROOT = Path(__file__).parent.parent
SEED = 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="seq_bn", help="such as seq_bn, double_seq_bn or lora")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output")
    return parser.parse_args()


def load_data() -> Data:
    """Read the three splits as batches."""
    tokenize = tokenize_with(AutoTokenizer.from_pretrained(minilm()))
    return {split: batched(read(split), tokenize) for split in ("train", "validation", "test")}


def train_head_alone(data: Data, options: argparse.Namespace) -> History:
    """Train nothing but a classification head on top of the frozen encoder."""
    torch.manual_seed(SEED)
    model = AutoAdapterModel.from_pretrained(minilm())
    model.add_classification_head("reviews", num_labels=len(LABELS), id2label=LABELS)
    model.requires_grad_(requires_grad=False)
    model.heads["reviews"].requires_grad_(requires_grad=True)
    return train(model, "head alone", data, options.epochs, options.learning_rate)


def train_adapter(data: Data, options: argparse.Namespace) -> History:
    """Train an adapter and its head in the frozen encoder, and save them."""
    torch.manual_seed(SEED)
    model = AutoAdapterModel.from_pretrained(minilm())
    model.add_adapter("reviews", config=options.method)
    model.add_classification_head("reviews", num_labels=len(LABELS), id2label=LABELS)
    model.train_adapter("reviews")
    print(model.adapter_summary(), end="\n\n")
    history = train(model, f"{options.method} + head", data, options.epochs, options.learning_rate)
    model.save_adapter(options.output / "adapter", "reviews", with_head=True)
    return history


def predict_in_new_process(output: Path) -> Tensor:
    """Load the saved adapter in a new process and return the logits it finds for the test split."""
    logits = output / "logits.safetensors"
    command = [sys.executable, "-m", "examples.predict", "--adapter", str(output / "adapter")]
    sys.stdout.flush()
    subprocess.run([*command, "--logits", str(logits)], cwd=ROOT, check=True)
    return load_file(logits)["logits"]


def main() -> int:
    """Run the demo; return 0 when all it claims held."""
    started, options = time.perf_counter(), parse()
    torch.set_num_threads(THREADS)
    options.output = options.output.resolve()
    options.output.mkdir(parents=True, exist_ok=True)
    data, published = load_data(), reaction_bert()
    print(report.data_lines(data), end="\n\n")
    adapter = train_adapter(data, options)
    head = train_head_alone(data, options)
    same = torch.equal(adapter.logits, predict_in_new_process(options.output))
    outcome = reactions.compare(published)
    majority = majority_accuracy(data["train"], data["test"])
    plot.draw([adapter, head], majority, options.output / "training.png")
    print(report.reaction_lines(outcome), report.table(majority, [head, adapter]), sep="\n\n", end="\n\n")
    checks = {
        "a new process, with the saved adapter, finds the same test logits to the bit": same,
        "the reaction BERT gives equal logits with its own and with a flexible head": outcome.equal,
        "the adapter beats the head alone, and that the majority": adapter.test > head.test > majority,
    }
    print(report.closing(checks, options.output, time.perf_counter() - started))
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
