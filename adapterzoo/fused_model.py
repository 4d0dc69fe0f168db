"""A model with AdapterFusions, and setups that lie in files as one. What its methods do is in `fusing.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapterzoo import adapting, fusing
from adapterzoo.adapted_model import AdaptedModel
from adapterzoo.core.compose import AdapterCompositionBlock, Fuse, Setup
from adapterzoo.hub.fetch import Token, visit
from adapterzoo.store import Source
from adapterzoo.writing import together


class FusedModel(AdaptedModel):
    """An adapted model whose adapters can be fused (Pfeiffer et al. 2021, arXiv:2005.00247)."""

    # ------------------------------------------------------------------------------------------ fusions

    def add_adapter_fusion(
        self,
        adapter_names: Fuse | Sequence[str] | str,
        config: Any = None,
        name: str | None = None,
        overwrite_ok: bool = False,
        set_active: bool = False,
    ) -> None:
        """Add an AdapterFusion: an attention over what some adapters add, wherever one of them acts.

        `Fuse` with the fusion's name activates it. Deleting an adapter leaves it as it is; it cannot be active then.

        Args:
            adapter_names: the adapters: a Fuse block, a list of names, or names joined by commas.
            config: "dynamic" (the default) or "static", a string such as "dynamic[temperature=True]", a config, a dict
                or the path of a JSON file.
            name: its name; the block's, or else the adapters' names joined by commas.
            overwrite_ok: whether to replace a fusion of that name.
            set_active: whether to activate it.

        Raises:
            ValueError: an adapter does not exist, or one adds positions or is invertible, so that there is nothing to
                weigh; the name is taken, or the config is none. Nothing is changed then.
        """
        fusing.add(self, adapter_names, config, name, overwrite_ok, set_active)

    def delete_adapter_fusion(self, adapter_names: Fuse | Sequence[str] | str) -> None:
        """Delete an AdapterFusion; a setup in which it is active ends.

        Args:
            adapter_names: its Fuse block, its adapters' names, or its name.

        Raises:
            UnknownName: there is none of that name.
        """
        self.adapters.remove_fusion(fusing.name_of(adapter_names))

    def train_adapter_fusion(self, adapter_setup: Setup, unfreeze_adapters: bool = False) -> None:
        """Prepare training of the setup's fusions: freeze all else but heads, activate it, switch to train mode.

        Args:
            adapter_setup: a setup with Fuse blocks.
            unfreeze_adapters: whether to train its adapters, too.

        Raises:
            ValueError: it has no Fuse block, or an adapter or fusion does not exist.
        """
        fusing.prepare_training(self, adapter_setup, unfreeze_adapters)

    def get_fusion_regularization_loss(self) -> Tensor | None:
        """0.01·Σ‖I − W_v‖² (Frobenius) over all W_v that are trained, (); None where there is none.

        Added to the loss it keeps the values of fused adapters near what they are, as in the paper.
        """
        return fusing.regularization_loss(self)

    def adapter_fusion_to(
        self,
        adapter_names: Fuse | Sequence[str] | str,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Move an AdapterFusion to a device, or make it one of another dtype.

        Raises:
            UnknownName: there is none of that name.
        """
        self.fusions[fusing.name_of(adapter_names)].to(device=device, dtype=dtype)

    def save_adapter_fusion(
        self,
        save_directory: Source,
        adapter_names: Fuse | Sequence[str] | str,
        meta_dict: Mapping[str, Any] | None = None,
        custom_weights_loaders: None = None,
        with_head: bool | str = False,
        use_safetensors: bool = True,
    ) -> None:
        """Write an AdapterFusion in AdapterHub's format.

        Args:
            save_directory: where to.
            adapter_names: its Fuse block, its adapters' names, or its name.
            meta_dict: more entries for `adapter_fusion_config.json`.
            with_head: a head to write beside it; True: the one of its name.
            custom_weights_loaders, use_safetensors: see `adapting.check_file_options`.

        Raises:
            UnknownName: there is no such fusion.
            ValueError: there is no such head, or the file has such entries already.
        """
        adapting.check_file_options(custom_weights_loaders, use_safetensors)
        fusing.save(self, save_directory, fusing.name_of(adapter_names), meta_dict, with_head)

    def load_adapter_fusion(
        self,
        adapter_fusion_name_or_path: Source,
        load_as: str | None = None,
        custom_weights_loaders: None = None,
        set_active: bool = False,
        with_head: bool = True,
        use_safetensors: bool = True,
        *,
        version: str | None = None,
        allow_pickle: bool = True,
        token: Token = None,
    ) -> str:
        """Load an AdapterFusion in AdapterHub's format, and the head beside it. It replaces one of its name.

        Args:
            adapter_fusion_name_or_path: a directory, or a repository's id on the Hub.
            load_as: the name to give it, and the head; their own if None.
            custom_weights_loaders: see `adapting.check_file_options`.
            set_active: whether to activate it.
            with_head: whether to load the head.
            use_safetensors: a safetensors file is taken before any other, whatever this is.
            version: branch, tag or commit on the Hub.
            allow_pickle: whether PyTorch's own files may be read (tensors only).
            token: for a private repository on the Hub; that of HF_TOKEN or of the last login if None.

        Returns:
            The fusion's name.

        Raises:
            FileNotFoundError: there is no such fusion.
            ValueError: it does not fit; every problem is named, and nothing is changed.
        """
        adapting.check_file_options(custom_weights_loaders)
        with visit(token):
            return fusing.load(self, adapter_fusion_name_or_path, load_as, version, set_active, with_head, allow_pickle)

    # ------------------------------------------------------------------------------------------ several together

    def save_all_adapters(
        self,
        save_directory: Source,
        with_head: bool = True,
        meta_dict: Mapping[str, Any] | None = None,
        custom_weights_loaders: None = None,
        use_safetensors: bool = True,
    ) -> None:
        """Write every adapter, each into a folder of its name. Arguments as for `save_adapter`."""
        adapting.check_file_options(custom_weights_loaders, use_safetensors)
        with together():
            for name, adapter in self.adapters.items():
                folder = Path(save_directory) / fusing.folder_of(name)
                self.save_adapter(folder, name, with_head, fusing.with_id(adapter.config, meta_dict))

    def save_all_adapter_fusions(
        self,
        save_directory: Source,
        meta_dict: Mapping[str, Any] | None = None,
        custom_weights_loaders: None = None,
        use_safetensors: bool = True,
    ) -> None:
        """Write every AdapterFusion, each into a folder of its name. Arguments as for `save_adapter_fusion`."""
        adapting.check_file_options(custom_weights_loaders, use_safetensors)
        with together():
            for name, fusion in self.fusions.items():
                folder = Path(save_directory) / fusing.folder_of(name)
                self.save_adapter_fusion(folder, name, fusing.with_id(fusion.config, meta_dict))

    def save_adapter_setup(
        self,
        save_directory: Source,
        adapter_setup: Setup,
        head_setup: Any = None,
        meta_dict: Mapping[str, Any] | None = None,
        custom_weights_loaders: None = None,
        use_safetensors: bool = True,
    ) -> None:
        """Write a setup, its adapters, its fusions, and heads, in AdapterHub's format.

        `adapter_setup.json` has the setup, and each part a folder of its name. A head of an adapter's name goes along.

        Args:
            save_directory: where to.
            adapter_setup: the setup.
            head_setup: more heads: a name, a list of names, or a block; True: the one head of a fixed class.
            meta_dict: more entries for the parts' configs.
            custom_weights_loaders, use_safetensors: see `adapting.check_file_options`.

        Raises:
            UnknownName: there is no such adapter or fusion.
            ValueError: there is no such head.
        """
        adapting.check_file_options(custom_weights_loaders, use_safetensors)
        fusing.save_setup(self, save_directory, adapter_setup, head_setup, meta_dict)

    def load_adapter_setup(
        self,
        adapter_setup_name_or_path: Source,
        version: str | None = None,
        custom_weights_loaders: None = None,
        set_active: bool = False,
        use_safetensors: bool = True,
        *,
        allow_pickle: bool = True,
        token: Token = None,
    ) -> tuple[AdapterCompositionBlock, Any]:
        """Load a setup with its adapters, fusions and heads. They replace those of their names.

        Args:
            adapter_setup_name_or_path: a directory, or a repository's id on the Hub.
            version: branch, tag or commit on the Hub.
            custom_weights_loaders: see `adapting.check_file_options`.
            set_active: whether to activate the setup and its heads.
            use_safetensors: a safetensors file is taken before any other, whatever this is.
            allow_pickle: whether PyTorch's own files may be read (tensors only).
            token: for a private repository on the Hub; that of HF_TOKEN or of the last login if None.

        Returns:
            The setup, and what it says of heads.

        Raises:
            FileNotFoundError: there is no such setup.
            ValueError: a part is missing or does not fit; every problem is named, and nothing is changed.
        """
        adapting.check_file_options(custom_weights_loaders)
        with visit(token):
            return fusing.load_setup(self, adapter_setup_name_or_path, version, set_active, allow_pickle)
