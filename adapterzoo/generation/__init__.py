"""Generating text: options, what they do to scores, the loops, and what runs the network in them."""

from adapterzoo.generation.config import GenerationConfig
from adapterzoo.generation.outputs import GenerateOutput

__all__ = ["GenerateOutput", "GenerationConfig"]
