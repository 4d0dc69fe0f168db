"""A convolution beside a stack's first layer (DeBERTa v2: He et al. 2021, arXiv:2006.03654)."""

from __future__ import annotations

from torch import Tensor, nn

from adapterzoo.core.config import ConvolutionConfig, StackConfig
from adapterzoo.nn.activations import activation
from adapterzoo.nn.dropout import dropped
from adapterzoo.nn.layout import Layout


class Convolution(nn.Module):
    """LayerNorm(x + act(dropout(conv(e)))), e the embeddings, x the first layer's output.

    Args:
        config: the stack's numbers.
        convolution: those of the convolution.
    """

    def __init__(self, config: StackConfig, convolution: ConvolutionConfig) -> None:
        super().__init__()
        width, kernel = config.width, convolution.kernel
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=convolution.groups)
        self.norm = nn.LayerNorm(width, config.eps)
        self.dropout, self.activation = config.dropout, activation(convolution.activation)

    def forward(self, embedded: Tensor, x: Tensor, layout: Layout) -> Tensor:
        """(…, D) and (…, D) by token to (…, D); padding is zeros to the convolution."""
        grid = layout.grid(embedded)
        if layout.mask is not None and not layout.packed:
            grid = grid * layout.mask[..., None]
        near = layout.tokens(self.conv(grid.transpose(1, 2)).transpose(1, 2))
        out: Tensor = self.norm(x + self.activation(dropped(near, self.dropout, self.training)))
        return out
