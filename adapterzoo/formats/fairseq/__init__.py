"""fairseq's checkpoints of RoBERTa and BART: what their arguments and their tensors' names come to here.

with tempfile.TemporaryDirectory() as folder:
    open_fairseq("model.pt", Path(folder)).write(Path("converted"))
"""

from adapterzoo.formats.fairseq.checkpoint import find_file, modern, open_fairseq
from adapterzoo.formats.fairseq.kinds import BART, ROBERTA, Kind
from adapterzoo.formats.fairseq.words import WORDS

__all__ = ["BART", "ROBERTA", "WORDS", "Kind", "find_file", "modern", "open_fairseq"]
