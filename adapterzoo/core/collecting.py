"""Python's garbage collector, which has nothing to find while modules are imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing within; as before afterwards.

    An import makes thousands of objects that stay. They set off a full collection, which walks all that PyTorch has
    made, too: as long as half of the import, for nothing. What was made within counts as old afterwards, else the next
    collection would walk it: to freeze all and thaw it does just that. Not where a program has frozen objects of its
    own, for they would thaw, too.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()
