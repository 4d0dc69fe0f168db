"""PEFT's files: an adapter's config and tensors, as `peft` writes them, and the heads in their `modules_to_save`.

    config = read_config(json, architecture, network)   # what `adapter_config.json` says, as a config of ours
    json = write_config(config, architecture, network)  # the way back
    names = tensor_names(config, architecture, network) # our name of each of the file's tensors

None of them needs a model: an architecture's tables and a network's numbers are enough.
"""

from adapterzoo.formats.peft.adapter import (
    CONFIG,
    STEM,
    WEIGHTS,
    Imported,
    bare_name,
    export_adapter,
    import_adapter,
    shapes,
)
from adapterzoo.formats.peft.config import read_config, tensor_names, write_config
from adapterzoo.formats.peft.kinds import KINDS
from adapterzoo.formats.peft.notes import NAME as NOTE
from adapterzoo.formats.peft.notes import read_note, write_note

__all__ = [
    "CONFIG",
    "KINDS",
    "NOTE",
    "STEM",
    "WEIGHTS",
    "Imported",
    "bare_name",
    "export_adapter",
    "import_adapter",
    "read_config",
    "read_note",
    "shapes",
    "tensor_names",
    "write_config",
    "write_note",
]
