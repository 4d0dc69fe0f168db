"""What lies in directories is loaded without a socket being made."""

from __future__ import annotations

import socket

import huggingface_hub.constants
import pytest

from adapterzoo import AutoAdapterModel, AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from tests.hub.calls import digests


def test_a_directory_needs_no_network(folder, bits, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "socket", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    model = AutoAdapterModel.from_pretrained(folder)
    assert digests(model) == bits
    assert AutoConfig.from_pretrained(folder).model_type == model.config.model_type
    assert AutoModelForSequenceClassification.from_pretrained(str(folder)).num_parameters() > 0
    model.save_adapter(tmp_path / "adapter", "mrpc")
    model.save_adapter_setup(tmp_path / "setup", "en")
    model.save_adapter_fusion(tmp_path / "fusion", "en,mrpc")
    model.save_head(tmp_path / "head", "other")
    model.save_embeddings(tmp_path / "embeddings", "default")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    assert model.load_adapter(str(tmp_path / "adapter"), load_as="new") == "new"
    model.hotswap_adapter(tmp_path / "adapter", "new")
    model.load_adapter_setup(tmp_path / "setup")
    assert model.load_adapter_fusion(tmp_path / "fusion", load_as="fused") == "fused"
    assert model.load_head(tmp_path / "head", load_as="more") == "more"
    model.load_embeddings(tmp_path / "embeddings", "again")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "tokenizer")) == 6
    for source in ("./nowhere", str(tmp_path / "nowhere"), tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="there is no directory"):
            model.load_adapter(source)
