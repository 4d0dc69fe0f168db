"""Command line: what checkpoints and adapters hold, and conversion between their formats."""
