"""`python -m benchmarks.first_prediction LIBRARY MODEL ADAPTER`: a process that loads, predicts once and prints logits.

LIBRARY is "ours" or "adapters"; MODEL a folder, ADAPTER one in AdapterHub's format, with a head. Each library is
imported only where it is asked for, as in a user's script: that is why this file imports neither at its top.
"""

from __future__ import annotations

import importlib
import json
import sys

SENTENCE = "A film that is as long as it is good."
PARTS = {"ours": ("adapterzoo", "adapterzoo"), "adapters": ("transformers", "adapters")}
"""Where the tokenizer is from, and the model."""


def main() -> None:
    """Load, predict, print."""
    library, model_folder, adapter_folder = sys.argv[1:]
    torch = importlib.import_module("torch")
    tokens, models = (importlib.import_module(name) for name in PARTS[library])
    tokenizer = tokens.AutoTokenizer.from_pretrained(model_folder)
    model = models.AutoAdapterModel.from_pretrained(model_folder)
    model.set_active_adapters(model.load_adapter(adapter_folder, use_safetensors=True))
    model.eval()
    with torch.no_grad():
        logits = model(**tokenizer(SENTENCE, return_tensors="pt")).logits
    print(json.dumps({"logits": logits.tolist()}))


if __name__ == "__main__":
    main()
