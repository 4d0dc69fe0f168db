"""The rows of the benchmark, a module each: its docstring is the row's text in docs/performance.md.

A row has `TITLE`; `run(row, pairs)`, which measures and adds results and series; and `NOTES`, Markdown that says what
stands beside the numbers, such as a limit that was measured and why it is one.
"""

ROWS = (
    "encoding",
    "one_row",
    "one_adapter",
    "many_adapters",
    "training",
    "parallel",
    "loading",
    "generating",
    "precision",
    "compiled",
    "throughput",
    "growth",
)
"""The modules, in the report's order."""
