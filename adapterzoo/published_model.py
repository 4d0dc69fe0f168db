"""A model whose adapters can be pushed to the Hub. What its methods do is in `publishing.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterzoo import publishing
from adapterzoo.core.compose import Setup
from adapterzoo.embedded_model import EmbeddedModel
from adapterzoo.hub.fetch import Token
from adapterzoo.hub.push import Target
from adapterzoo.store import Source


class PublishedModel(EmbeddedModel):
    """An adapted model that can push its adapters to the Hub. Loading methods take them by their ids."""

    def push_adapter_to_hub(
        self,
        repo_id: str,
        adapter_name: str,
        datasets_tag: str | None = None,
        local_path: Source | None = None,
        commit_message: str | None = None,
        private: bool | None = None,
        token: Token = None,
        overwrite_adapter_card: bool = False,
        create_pr: bool = False,
        revision: str | None = None,
        commit_description: str | None = None,
        adapter_card_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Push an adapter, and the head of its name, to a repository on the Hub, in one commit.

        The files are those of `save_adapter`, as safetensors, and a card, README.md. A repository or branch that is not
        there is made. Of an adapter that was there before, nothing stays that would be loaded with the new one.

        Args:
            repo_id: the repository.
            adapter_name: the adapter.
            datasets_tag: the id on the Hub of the dataset that it was trained on.
            local_path: a directory to write the files to and keep them.
            commit_message, commit_description: what the commit says.
            private: whether a new repository is private; what its owner has chosen if None.
            token: a token that may write; that of HF_TOKEN or of the last login if None.
            overwrite_adapter_card: whether to replace a card that is there already.
            create_pr: whether to open a pull request in place of the commit.
            revision: the branch; the main one if None.
            adapter_card_kwargs: more for the card: "tags", "language", "license", "metrics", and texts for
                "architecture_training", "results" and "citation".

        Returns:
            The commit's URL.

        Raises:
            UnknownName: there is no such adapter.
            TypeError: a card has no such entry, or none of that type.
            PermissionError: the token may not write there.
            ValueError: the repository is public and shall be private.
        """
        target = Target(
            repo_id,
            local_path,
            commit_message,
            private,
            token,
            overwrite_adapter_card,
            create_pr,
            revision,
            commit_description,
        )
        return publishing.push_adapter(self, target, adapter_name, datasets_tag, adapter_card_kwargs)

    def push_adapter_setup_to_hub(
        self,
        repo_id: str,
        adapter_setup: Setup,
        head_setup: Any = None,
        datasets_tag: str | None = None,
        local_path: Source | None = None,
        commit_message: str | None = None,
        private: bool | None = None,
        token: Token = None,
        overwrite_adapter_card: bool = False,
        create_pr: bool = False,
        revision: str | None = None,
        commit_description: str | None = None,
        adapter_card_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Push a setup, its adapters, its fusions, and heads, to a repository on the Hub, in one commit.

        The files are those of `save_adapter_setup`, and a card.

        Args:
            repo_id: the repository.
            adapter_setup, head_setup: as for `save_adapter_setup`.
            datasets_tag, local_path, commit_message, private, token, overwrite_adapter_card, create_pr, revision,
                commit_description, adapter_card_kwargs: as for `push_adapter_to_hub`.

        Returns:
            The commit's URL.

        Raises:
            UnknownName: there is no such adapter or fusion.
            TypeError: a card has no such entry, or none of that type.
            PermissionError: the token may not write there.
            ValueError: there is no such head; or the repository is public and shall be private.
        """
        target = Target(
            repo_id,
            local_path,
            commit_message,
            private,
            token,
            overwrite_adapter_card,
            create_pr,
            revision,
            commit_description,
        )
        return publishing.push_setup(self, target, adapter_setup, head_setup, datasets_tag, adapter_card_kwargs)
