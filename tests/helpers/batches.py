"""Random batches with padding for any model, and single rows of them without."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]

_BY_MASK = {
    "attention_mask": ("input_ids", "token_type_ids", "inputs_embeds", "position_ids"),
    "decoder_attention_mask": ("decoder_input_ids", "decoder_inputs_embeds"),
    "encoder_attention_mask": ("encoder_hidden_states",),
}
"""Which inputs a mask says the lengths of."""


def random_ids(model: Any, *shape: int) -> Tensor:
    """Random token ids, none of which means anything special."""
    config = model.config
    special = {config.pad_token_id, config.bos_token_id, config.eos_token_id, config.decoder_start_token_id}
    plain = torch.tensor([token for token in range(config.vocab_size) if token not in special])
    return plain[torch.randint(len(plain), shape)]


def padding_mask(lengths: list[int], length: int) -> Tensor:
    """(B, length): 1 in each row's first tokens, as many as its length says, then 0."""
    return (torch.arange(length) < torch.tensor(lengths)[:, None]).long()


def padded(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Ids with padding where the mask is 0, and the end's token last in each row if the model has one."""
    ids = ids.masked_fill(mask == 0, model.config.pad_token_id)
    if model.config.eos_token_id is not None:
        ids = ids.scatter(1, mask.sum(1, keepdim=True) - 1, model.config.eos_token_id)
    return ids


def batch_for(
    model: Any, rows: int = 4, length: int = 8, decoder: bool = True, lengths: list[int] | None = None
) -> Batch:
    """A random batch of rows of several lengths, the longest as long as the batch.

    Args:
        model: what it is for.
        rows: B.
        length: T.
        decoder: whether an encoder-decoder is given its decoder's input, of other lengths.
        lengths: each row's length; a mixture if None.
    """
    stacks = model.base.config.stacks()
    lengths = lengths or [length - (3 * row) % max(1, length - 2) for row in range(rows)]
    mask = padding_mask(lengths, length)
    batch = {"input_ids": padded(model, random_ids(model, rows, length), mask), "attention_mask": mask}
    if model.base.config.first.segments > 1:
        batch["token_type_ids"] = torch.randint(model.base.config.first.segments, (rows, length))
    if len(stacks) == 2 and decoder:
        batch["decoder_attention_mask"] = padding_mask([n - 1 for n in reversed(lengths)], length - 1)
        batch["decoder_input_ids"] = random_ids(model, rows, length - 1)
    elif len(stacks) == 1 and next(iter(stacks.values())).cross:
        batch["encoder_attention_mask"] = padding_mask([n + 1 for n in reversed(lengths)], length + 1)
        batch["encoder_hidden_states"] = torch.randn(rows, length + 1, model.base.config.width)
    return batch


def row_of(batch: Batch, row: int) -> Batch:
    """One row alone, without its padding and without masks."""
    single: Batch = {}
    for mask, names in _BY_MASK.items():
        for name in names:
            if name in batch:
                length = int(batch[mask][row].sum()) if mask in batch else batch[name].size(1)
                single[name] = batch[name][row : row + 1, :length]
    return single


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    """Some rows, padding and masks as they are."""
    return {name: tensor[rows] for name, tensor in batch.items()}


def unmasked(model: Any, batch: Batch, stack: str) -> Tensor:
    """(B, T) whether a position of a stack's output is no padding."""
    own = "decoder_" if stack == "decoder" and "decoder_input_ids" in batch else ""
    mask = batch.get(f"{own}attention_mask")
    return torch.ones_like(batch[f"{own}input_ids"]).bool() if mask is None else mask.bool()
