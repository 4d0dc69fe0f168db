"""Turn a published BERT with a fixed head into one with a flexible head: same weights, same logits."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adapterzoo import AutoAdapterModel, BertForSequenceClassification

TOKEN = re.compile(r"\[[^\]]+]|Br|Cl|>>|%\d\d|[A-Za-z]|[0-9]|[().=#\-+\\/:~@?>*$]")

REACTIONS = {
    "amide from acid and amine": "Nc1cccc2cnccc12.O=C(O)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1"
    ">>O=C(Nc1cccc2cnccc12)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1",
    "Suzuki coupling": "Brc1ccccc1.OB(O)c1ccccc1>>c1ccc(-c2ccccc2)cc1",
    "ester hydrolysis": "COC(=O)c1ccccc1.O.[Na+].[OH-]>>O=C(O)c1ccccc1",
    "Boc deprotection": "CC(C)(C)OC(=O)N1CCNCC1.Cl>>C1CNCCN1",
    "nitro reduction": "O=[N+]([O-])c1ccccc1.[Fe].[Cl-].[NH4+]>>Nc1ccccc1",
}


@dataclass(frozen=True)
class Outcome:
    """What the comparison found: number of classes, equality of the logits, (class, probability) pairs."""

    classes: int
    equal: bool
    predictions: dict[str, tuple[int, float]]


def encode(reactions: list[str], vocabulary: list[str]) -> dict[str, Tensor]:
    """Turn reaction SMILES into padded token ids and their mask."""
    index = {token: position for position, token in enumerate(vocabulary)}
    rows = []
    for reaction in reactions:
        tokens = ["[CLS]", *TOKEN.findall(reaction), "[SEP]"]
        rows.append(torch.tensor([index.get(token, index["[UNK]"]) for token in tokens]))
    masks = [torch.ones_like(row) for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(rows, batch_first=True, padding_value=index["[PAD]"]),
        "attention_mask": pad(masks, batch_first=True),
    }


def compare(folder: Path) -> Outcome:
    """Load the checkpoint with its own head and with a flexible head, and compare the logits."""
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    batch = encode(list(REACTIONS.values()), vocabulary)
    static = BertForSequenceClassification.from_pretrained(folder, allow_pickle=True).eval()
    flexible = AutoAdapterModel.from_pretrained(folder, allow_pickle=True).eval()
    with torch.no_grad():
        expected, found = static(**batch).logits, flexible(**batch).logits
    best = found.softmax(dim=-1).max(dim=-1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Outcome(found.shape[-1], torch.equal(expected, found), dict(zip(REACTIONS, pairs, strict=True)))
