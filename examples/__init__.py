"""The demo of adapterzoo: `python -m examples.demo`."""

import os

# Threads that wait sleep instead of spinning: several times faster where other programs use the same cores.
# PyTorch reads this when it is imported, so it stands before every import of it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
