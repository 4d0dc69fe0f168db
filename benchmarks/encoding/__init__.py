"""Processes that encode texts and say how long it took: ours, and the peer's in an environment of its own."""
