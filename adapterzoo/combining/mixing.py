"""Several tensors of one shape made one. Notation: τᵢ the tensors, wᵢ their weights, d the density."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adapterzoo.combining.options import Options

Mix = Callable[[Sequence[Tensor], Sequence[float], Options], Tensor]


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float], options: Options) -> Tensor:
    """Σ wᵢ·τᵢ: with negative weights, task arithmetic (Ilharco et al. 2023, arXiv:2212.04089)."""
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total = total + tensor * weight
    return total


def magnitude_prune(tensors: Sequence[Tensor], weights: Sequence[float], options: Options) -> Tensor:
    """Σ wᵢ·τᵢ, of each tensor only the share d of its largest values."""
    return weighted_sum([_largest(tensor, options) for tensor in tensors], weights, options)


def ties(tensors: Sequence[Tensor], weights: Sequence[float], options: Options) -> Tensor:
    """TIES (Yadav et al. 2023, arXiv:2306.01708): trim, elect a sign, take the mean of the weighted values with it.

    Of each tensor the share d of its largest values stays. Each position's sign is that of the sum of the values there,
    or of their signs; the result is Σ wᵢ·τᵢ over the values with that sign, divided by how many these are.
    """
    return _elected([_largest(tensor, options) for tensor in tensors], weights, options)


def dare_linear(tensors: Sequence[Tensor], weights: Sequence[float], options: Options) -> Tensor:
    """DARE (Yu et al. 2023, arXiv:2311.03099): Σ wᵢ·mᵢ·τᵢ/d, with mᵢ 1 at random with chance d, else 0."""
    return weighted_sum([_drawn(tensor, options) for tensor in tensors], weights, options)


def dare_ties(tensors: Sequence[Tensor], weights: Sequence[float], options: Options) -> Tensor:
    """TIES with values left out at random, as in DARE, in place of the smallest."""
    return _elected([_drawn(tensor, options) for tensor in tensors], weights, options)


def _largest(tensor: Tensor, options: Options) -> Tensor:
    density = _density(options)
    if density == 1:
        return tensor
    kept = tensor.abs().flatten().topk(int(density * tensor.numel())).indices
    mask = torch.zeros_like(tensor).flatten().index_fill(0, kept, 1)
    return tensor * mask.view_as(tensor)


def _drawn(tensor: Tensor, options: Options) -> Tensor:
    density = _density(options)
    if density == 1:
        return tensor
    return tensor * torch.bernoulli(torch.full_like(tensor, density), generator=options.generator) / density


def _density(options: Options) -> float:
    assert options.density is not None
    return options.density


def _elected(tensors: Sequence[Tensor], weights: Sequence[float], options: Options) -> Tensor:
    several = torch.stack(list(tensors))
    votes = several.sign() if options.majority_sign_method == "frequency" else several
    agrees = several.sign() == torch.where(votes.sum(0) >= 0, 1, -1)
    shares = several.new_tensor(list(weights)).view(-1, *[1] * tensors[0].dim())
    return (several * shares * agrees).sum(0) / agrees.sum(0).clamp(min=1)
