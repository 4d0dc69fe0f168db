"""Live comparison with adapters 1.3.0: the same weights, exchanged through files, give the same numbers."""
