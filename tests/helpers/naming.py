"""Names that users may give adapters and heads, and that PyTorch, files or folders would not all take."""

from __future__ import annotations

from hypothesis import strategies as st

ODD = [
    "train",
    "en.wiki",
    "a/b",
    "%2E",
    "%",
    "..",
    "_modules",
    "active",
    "kind",
    "forward",
    "näme 中文 🙂",
    "a\\b:c*?",
    "MRPC",
    "mrpc",
]
"""Names that are attributes, paths, encodings, or alike but for their case."""

names = st.text(min_size=1, max_size=12) | st.sampled_from(ODD)
"""Any name."""
