"""Heads: what each answers, what they share, and how they change class."""
