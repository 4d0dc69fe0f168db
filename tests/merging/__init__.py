"""Merging, combining and managing adapters."""
