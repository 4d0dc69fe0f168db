"""Giving tokens to whoever waits for them, as they come."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Streamer(Protocol):
    """What `generate(streamer=…)` gives tokens to. HF's TextStreamer and TextIteratorStreamer are such."""

    def put(self, value: Tensor) -> None:
        """Take the prompt (R, T), and then each step's tokens (R,), on the CPU."""

    def end(self) -> None:
        """Take notice that nothing more comes."""
