"""The demo's words: what was read, the table, the checks, and what to try next."""

import sys
from collections.abc import Sequence
from pathlib import Path

from examples.reactions import Outcome
from examples.reviews import Data
from examples.training import History

NEXT = """Try next:
  {python} -m examples.predict --adapter {adapter} --text "An honest, moving film." "A dull mess."
  make demo ARGS="--method double_seq_bn"    # another adapter: lora, par_bn, prefix_tuning ...
  make demo ARGS="--epochs 2"                # longer training"""


def data_lines(data: Data) -> str:
    """Return the size of each split and its share of positive reviews."""
    lines = []
    for split, batches in data.items():
        labels = [label for batch in batches for label in batch.labels.tolist()]
        lines.append(f"{split:<10} {len(labels):>5} reviews, {sum(labels) / len(labels):.1%} positive")
    return "\n".join(lines)


def reaction_lines(outcome: Outcome) -> str:
    """Return the predicted class of each reaction."""
    found = outcome.predictions.items()
    lines = [f"{name:<26} class {kind:>2}, probability {chance:.3f}" for name, (kind, chance) in found]
    return "\n".join([f"A BERT for reactions with a flexible head of {outcome.classes} classes:", *lines])


def table(majority: float, histories: Sequence[History]) -> str:
    """Return the table of the trainings, one row each, under the majority's."""
    lines = [f"{'':<24}{'trained':>10}{'validation':>12}{'test':>8}{'seconds':>9}"]
    lines.append(f"{'always the majority':<24}{0:>10,}{'':>12}{majority:>8.1%}{'':>9}")
    for history in histories:
        numbers = f"{history.trained:>10,}{history.checks[-1][1]:>12.1%}{history.test:>8.1%}"
        lines.append(f"{history.name:<24}{numbers}{history.seconds:>9.0f}")
    rule = "-" * len(lines[0])
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def from_here(path: Path) -> Path:
    """Return the path relative to the current folder, where it lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def closing(checks: dict[str, bool], output: Path, seconds: float) -> str:
    """Return the checks with their outcome, where the results lie, and what to try next."""
    output, python = from_here(output), from_here(Path(sys.executable))
    lines = [f"{'yes' if held else 'NO '}  {claim}" for claim, held in checks.items()]
    lines += ["", f"Picture: {output / 'training.png'}", f"Adapter and head: {output / 'adapter'}"]
    lines += [f"{seconds:.0f} seconds in all.", "", NEXT.format(python=python, adapter=output / "adapter")]
    return "\n".join(lines)
