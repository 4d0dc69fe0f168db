"""The weights of linear maps packed as oneDNN likes them, beside the weights themselves."""

from __future__ import annotations

import logging

from torch import nn

from adapterzoo.nn import linear
from adapterzoo.nn.attention import QKV

logger = logging.getLogger("adapterzoo")


def pack(model: nn.Module, wanted: bool) -> None:
    """See `ManagedModel.pack_weights`."""
    if wanted and linear.ONEDNN is None:
        logger.warning("weights are not packed: on this processor PyTorch's usual products are taken, which do without")
        return
    for module in model.modules():
        if isinstance(module, (linear.Linear, QKV)):
            module.packed = linear.Packed() if wanted else None
