"""Log messages that concern nobody, for they are of models that are made only to compare with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unheard() -> Iterator[None]:
    """Within, the package logs nothing."""
    logger = logging.getLogger("adapterzoo")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
