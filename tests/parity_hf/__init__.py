"""Parity with transformers: the same checkpoint, the same batch, the same numbers."""
