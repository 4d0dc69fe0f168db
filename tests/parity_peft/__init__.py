"""Live comparison with PEFT 0.21.2: the same weights, exchanged through files, give the same numbers."""
