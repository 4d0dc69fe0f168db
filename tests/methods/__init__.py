"""Adapter methods: their formulas, where they act, and what merges them."""
