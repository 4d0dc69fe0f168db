"""Generation: what options do to scores, the loops, and parity with transformers."""
