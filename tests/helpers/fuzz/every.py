"""Every reader of files."""

from __future__ import annotations

from tests.helpers.fuzz.conversions import CONVERSIONS
from tests.helpers.fuzz.foreign_readers import FOREIGN_READERS
from tests.helpers.fuzz.peft_readers import PEFT_READERS
from tests.helpers.fuzz.readers import READERS

EVERY = {**READERS, **PEFT_READERS, **FOREIGN_READERS, **CONVERSIONS}
"""All of them, by names for reports."""
