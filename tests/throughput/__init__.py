"""Tests of `encode` and `predict`."""
