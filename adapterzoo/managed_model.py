"""A model whose adapters can be merged, averaged, renamed, copied, moved and swapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adapterzoo import adapting, managing, merging, packing, quantizing, sharing
from adapterzoo.archs.config import ModelConfig
from adapterzoo.combining import Options, combine_adapters, weights_of
from adapterzoo.core.compose import AdapterCompositionBlock, Setup, copies
from adapterzoo.fused_model import FusedModel
from adapterzoo.hub.fetch import Token, visit
from adapterzoo.store import Source


class ManagedModel(FusedModel):
    """An adapted model with all that is done to adapters as a whole.

    Attributes:
        originals: the weights into which adapters are merged, as they were before.
    """

    def __init__(self, config: ModelConfig, add_pooling_layer: bool = True, initialise: bool = True) -> None:
        super().__init__(config, add_pooling_layer, initialise)
        self.originals = merging.Originals()
        self.adapters.frozen = self.originals.pair

    # ------------------------------------------------------------------------------------------ merging

    def merge_adapter(self, name: Setup) -> None:
        """Fold adapters into the network's weights, W' = W + ΔW, so that they cost nothing in a forward.

        For LoRA and its variants, (IA)³, BitFit and LayerNorm tuning. A merged adapter acts in every forward, under any
        setup, and has no units besides: where it is active, it stays so. Dropout is none. Adapters that are merged
        already stay so, and what is merged later comes after them.

        `state_dict()` gives the weights as they are, adapters merged. `save_pretrained` writes those that were before,
        and which adapters are merged: `from_pretrained` merges them again. `merge_and_unload` makes a plain model.

        Args:
            name: an adapter, or several, as a list or a Stack, one after the other.

        Raises:
            UnknownName: there is no such adapter.
            ValueError: an adapter cannot be folded into weights: it is no change of weights, has a gate, needs a bias
                that is not there, or a weight that has another use, too; all reasons are told. Nothing is changed then.
        """
        merging.merge(self, name)

    def reset_adapter(self) -> None:
        """Take all merged adapters out of the weights: these have the bits that they had before."""
        merging.reset(self)

    @property
    def merged_adapters(self) -> tuple[str, ...]:
        """The names of the adapters that are merged, in the order in which they were."""
        return self.adapters.merged

    def merge_and_unload(self, adapter_names: Setup = None) -> Any:
        """Fold adapters into the weights for good, and drop all adapters and fusions.

        Args:
            adapter_names: the adapters, as for `merge_adapter`; the active ones if None. Those that are merged already
                stay in the weights.

        Returns:
            The model itself, which now is a plain one; its `save_pretrained` writes what transformers opens.

        Raises:
            UnknownName: there is no such adapter.
            ValueError: none is named, active or merged; or one cannot be merged, or weights would be NaN or infinite.
                Nothing is changed then.
        """
        merging.unload(self, adapter_names)
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As PyTorch's.

        Raises:
            ValueError: it holds weights of the network, and adapters are merged into these.
        """
        merging.check_loading(self, state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    # ------------------------------------------------------------------------------------------ int8

    def quantize_base(self, kind: str = "int8") -> Any:
        """Round the weights of the layers' linear maps to int8, for good, and freeze the network.

        They take a quarter of float32's memory, and products are of int8, too. Adapters, heads, embeddings, biases and
        LayerNorms stay floats; adapters can be trained. See docs/quantization.md for what is lost and won.

        Args:
            kind: what weights are brought to; there is "int8".

        Returns:
            The model itself. If its weights are int8 already, nothing is changed.

        Raises:
            ValueError: there is no such kind, adapters are merged, or weights cannot be rounded: they are no floats,
                not finite or not loaded. Nothing is changed then.
        """
        quantizing.quantize(self, kind)
        return self

    @property
    def quantized(self) -> str | None:
        """What the network's linear maps were brought to, such as "int8"; None if they are floats."""
        return quantizing.kind_of(self.base)

    def pack_weights(self, pack: bool = True) -> Any:
        """Keep a second copy of linear maps' float32 weights in the order that oneDNN reads fastest, on AMD's CPUs.

        Products of few rows (one sentence; each step of `generate`) then take about half the time, for twice the memory
        of these weights. Nothing else changes: what is saved, merged or trained are the weights themselves, and a copy
        is made anew when they have changed.

        Args:
            pack: whether to; False drops the copies.

        Returns:
            The model itself.
        """
        packing.pack(self, pack)
        return self

    # ------------------------------------------------------------------------------------------ combining

    def average_adapter(
        self,
        adapter_name: str,
        adapter_list: Sequence[str] | Mapping[str, float],
        weights: Sequence[float] | None = None,
        combine_strategy: str = "linear",
        normalize_weights: bool = True,
        overwrite_ok: bool = False,
        set_active: bool = False,
        svd_rank: int | None = None,
        *,
        density: float | None = None,
        majority_sign_method: str | None = None,
        generator: torch.Generator | None = None,
        svd_clamp: float | None = None,
    ) -> None:
        """Add an adapter made of the weights of others. `docs/merging.md` has a table of the strategies.

        Args:
            adapter_name: the new adapter's name; with `overwrite_ok` it may be one of those that it is made of.
            adapter_list: the adapters' names; or names with weights.
            weights: a weight for each; equal ones, which add up to 1, if there are none. They may be negative.
            combine_strategy: for adapters of one config "linear", "magnitude_prune", "ties", "dare_linear" and
                "dare_ties"; for LoRA, of any ranks, "cat", "svd", "lora_delta_w_svd" and those four followed by
                "_svd"; for LoRA of one config "lora_linear_only_negate_b" and "lora_linear_sqrt".
            normalize_weights: whether to divide the weights by their sum.
            overwrite_ok: whether to replace an adapter of that name.
            set_active: whether to activate it.
            svd_rank: the new rank, where there is a singular value decomposition; the largest of the ranks if None.
            density: the share of values that pruning leaves.
            majority_sign_method: how TIES elects signs: by "total" (also if None) or "frequency".
            generator: what DARE draws by; PyTorch's own if None.
            svd_clamp: the quantile at which the decomposition's factors are cut off.

        Raises:
            UnknownName: there is no such adapter or strategy.
            ValueError: configs differ, the strategy is not for them, weights are not one number each or cannot be
                normalised, or the strategy's options are wrong. Nothing is changed then.
        """
        self.adapters.check_new(adapter_name, overwrite_ok)
        self.adapters.check_not_merged(adapter_name)
        shares = weights_of("adapter", adapter_list, weights, normalize_weights)
        options = Options(density, majority_sign_method, generator, svd_rank, svd_clamp)
        parts = {name: self.adapters[name] for name in shares}
        self.adapters.put(adapter_name, combine_adapters(parts, shares, combine_strategy, options, self.base))
        if set_active:
            self.set_active_adapters(adapter_name)

    # ------------------------------------------------------------------------------------------ managing

    def get_adapter(self, name: str) -> dict[int, dict[str, nn.Module]]:
        """An adapter's modules by layer and place, the place named as in AdapterHub's library.

        Layer -1 has what lies in no layer, and under "shared" what several layers share. Where an adapter has several
        modules under one name, as LoRA at queries and values has, they are a ModuleList.

        Raises:
            UnknownName: there is no such adapter.
        """
        return managing.modules_by_layer(self, name)

    def adapter_to(self, name: str, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        """Move an adapter to a device or a dtype. Heads stay where the network is, whose output they read.

        An adapter of another dtype than the network's computes in its own; what passes through it is cast. It acts only
        on the network's device.

        Raises:
            UnknownName: there is no such adapter.
        """
        self.adapters.move(name, device, dtype)

    def rename_adapter(self, old: str, new: str) -> None:
        """Give an adapter another name, and the head of its name, too. Active setups follow; fusions keep their names.

        Raises:
            UnknownName: there is no such adapter.
            ValueError: the new name is taken. Nothing is changed then.
        """
        self.adapters.rename(old, new)

    def copy_adapter(self, name: str, new_name: str, overwrite_ok: bool = False) -> None:
        """Add an adapter that is a copy of another.

        Raises:
            UnknownName: there is no such adapter.
            ValueError: the new name is taken.
        """
        managing.copied(self, name, new_name, overwrite_ok)

    def hotswap_adapter(
        self,
        source: Source | Mapping[str, Tensor],
        name: str,
        version: str | None = None,
        allow_pickle: bool = True,
        *,
        token: Token = None,
    ) -> None:
        """Put other weights in the place of an adapter's, in the same tensors: what is compiled stays compiled.

        Args:
            source: a directory, or a repository's id on the Hub, with an adapter of the same config; or tensors under
                the names of the adapter's state dict, or of AdapterHub's files.
            name: the adapter.
            version: branch, tag or commit on the Hub.
            allow_pickle: whether PyTorch's own files may be read (tensors only).
            token: for a private repository on the Hub; that of HF_TOKEN or of the last login if None.

        Raises:
            UnknownName: there is no such adapter.
            FileNotFoundError: there is nothing to load.
            ValueError: the config or a shape is another, or the adapter is merged. Nothing is changed then.
        """
        with visit(token):
            managing.hotswap(self, source, name, version, allow_pickle)

    def share_parameters(
        self,
        adapter_names: AdapterCompositionBlock | Sequence[str] | str,
        name: str | None = None,
        reference_adapter_name: str | None = None,
        parameters: str | Sequence[str] = sharing.PARAMETERS,
    ) -> None:
        """Let adapters of one config have parameters in common: one's training is the others', too.

        They are new: copies of the reference's. Make an optimizer afterwards.

        Args:
            adapter_names: the adapters: a list, a block such as MultiTask, or names with commas.
            name: what to call what is shared; the adapters' names with commas if None.
            reference_adapter_name: whose values it has; the first one's if None.
            parameters: which, by name, as shell patterns: "lora_*", "up.weight".

        Raises:
            UnknownName: there is no such adapter.
            ValueError: configs differ, there are no such parameters, or one shares some already.
        """
        sharing.share(self.adapters, adapter_names, name, reference_adapter_name, parameters)

    def unshare_parameters(
        self, adapter_names: AdapterCompositionBlock | Sequence[str] | str, name: str | None = None
    ) -> None:
        """Let each adapter have parameters of its own again, with the values that they had in common.

        Raises:
            UnknownName: nothing is shared under that name.
        """
        sharing.unshare(self.adapters, adapter_names, name)

    def eject_prefix_tuning(self, name: str) -> None:
        """Keep the prefixes that an MLP makes, and drop the MLP: the adapter's config says `flat=True` then.

        Raises:
            UnknownName: there is no such adapter.
            ValueError: it has no prefixes.
        """
        managing.eject_prefixes(self, name)

    def freeze_embeddings(self, freeze: bool = True) -> None:
        """Freeze or unfreeze token embeddings, and what scores words in heads."""
        managing.freeze_embeddings(self, freeze)

    @property
    def model_frozen(self) -> bool:
        """Whether no weight of the network is trained."""
        return not any(parameter.requires_grad for parameter in self.base.parameters())

    @property
    def has_parallel_adapters(self) -> bool:
        """Whether the active setup answers each row several times."""
        return self.adapters.active is not None and copies(self.adapters.active) > 1

    @property
    def model_name(self) -> str:
        """What the model was loaded from; empty if it was not."""
        return adapting.model_name(self)

    def supports_adapter(self, type_or_config: Any) -> bool:
        """Whether there is a place in the network for a method ("lora", "invertible", …) or a config."""
        return managing.supports(self, type_or_config)
