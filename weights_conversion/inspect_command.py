"""`inspect`: what a directory holds."""

from __future__ import annotations

import argparse
import json
import sys

from adapterzoo.conversion.inspection import inspect_source
from weights_conversion import text


def run(given: argparse.Namespace) -> int:
    """Print what a directory holds; 1 if its tensors do not make up what it says it is."""
    facts = inspect_source(given.source, given.allow_pickle, given.model_type, given.class_name)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if given.json else text.report(facts, given.all))
    problems = facts.get("problems")
    if problems:
        print(f"error: {given.source} is no whole {facts['class']}; see problems", file=sys.stderr)
    return 1 if problems else 0
