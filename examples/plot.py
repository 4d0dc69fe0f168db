"""Draw the two trainings side by side."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from examples.training import History

COLOURS = ("#0f6e9e", "#d9772b")
GREY = "#555555"
WINDOW = 15


def smooth(values: Sequence[float]) -> list[float]:
    """Return the mean of each value and up to `WINDOW` - 1 before it."""
    windows = [values[max(0, end - WINDOW) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]


def draw_loss(axes: Axes, histories: Sequence[History]) -> None:
    """Draw the training loss of each step, faint, and its moving average."""
    for history, colour in zip(histories, COLOURS, strict=False):
        epochs = [step / history.steps_per_epoch for step in range(1, len(history.losses) + 1)]
        axes.plot(epochs, history.losses, color=colour, alpha=0.18, linewidth=0.8)
        axes.plot(epochs, smooth(history.losses), color=colour, linewidth=2, label=history.name)
    axes.set(title="Training loss", ylabel="cross-entropy")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="lower left")


def note(axes: Axes, text: str, place: tuple[float, float], shift: tuple[int, int], colour: str) -> None:
    """Write a text a few points beside a place."""
    axes.annotate(text, place, color=colour, va="center", xytext=shift, textcoords="offset points")


def draw_accuracy(axes: Axes, histories: Sequence[History], majority: float) -> None:
    """Draw the validation accuracy of each check, the test accuracy at the end, and the majority's line."""
    for history, colour in zip(histories, COLOURS, strict=False):
        epochs = [step / history.steps_per_epoch for step, _ in history.checks]
        values, test = [100 * value for _, value in history.checks], 100 * history.test
        axes.plot(epochs, values, color=colour, linewidth=2, marker="o", markersize=5)
        axes.plot(epochs[-1], test, color=colour, marker="*", markersize=13, clip_on=False)
        note(axes, f"{history.name}\ntest {test:.1f} %", (epochs[-1], test), (12, 0), colour)
    axes.axhline(100 * majority, color=GREY, linestyle="--", linewidth=1.2)
    note(axes, f"always the majority: test {100 * majority:.1f} %", (0, 100 * majority), (6, 9), GREY)
    axes.set(title="Validation accuracy (★ test)", ylabel="reviews right, %")
    axes.set_ylim(bottom=45)


def draw(histories: Sequence[History], majority: float, path: Path) -> None:
    """Write the picture of the trainings."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    draw_loss(left, histories)
    draw_accuracy(right, histories, majority)
    last = max(len(history.losses) / history.steps_per_epoch for history in histories)
    left.set_xlim(0, last)
    right.set_xlim(0, last * 1.25)
    right.set_xticks([tick for tick in left.get_xticks() if tick <= last])
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("MiniLM on film reviews: an adapter in the frozen encoder, or a head alone on top of it")
    figure.savefig(path, dpi=150)
    plt.close(figure)
