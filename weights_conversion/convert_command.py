"""`convert`: a checkpoint as safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path

from adapterzoo.conversion.checkpoint import open_checkpoint
from adapterzoo.conversion.convert import STEPS, convert, copied
from adapterzoo.conversion.folder import check_target, whole_folder
from adapterzoo.conversion.inspection import model_facts
from adapterzoo.progress import Steps
from weights_conversion import text


def run(given: argparse.Namespace) -> int:
    """Convert a checkpoint; DST is whole afterwards, or as it was."""
    target = Path(given.target)
    check_target(target, given.source, given.force)
    checkpoint = open_checkpoint(given.source, given.allow_pickle, given.model_type, given.class_name)
    checkpoint.check(given.drop_unexpected)
    summary = text.summary(model_facts(checkpoint, given.allow_pickle))
    if given.dry_run:
        _tell(given, summary, f"would write {target}; copied: {', '.join(copied(checkpoint)) or 'nothing'}")
        return 0
    with whole_folder(target) as folder, Steps(STEPS, quiet=given.quiet) as steps:
        convert(checkpoint, folder, given.dtype, steps)
        files = text.files(folder)
    _tell(given, summary, f"wrote {target}{f' as {given.dtype}' if given.dtype else ''}:", files)
    return 0


def _tell(given: argparse.Namespace, *lines: str) -> None:
    if not given.quiet:
        print("\n".join(lines))
