"""The demo of adapterzoo: `python -m examples.demo`."""
