"""Google's BERT as TensorFlow saved it, read without TensorFlow.

open_tensorflow("uncased_L-12_H-768_A-12").write(Path("converted"))
"""

from adapterzoo.formats.tensorflow.bert import TABLE, dotted, files_of, find_prefix, open_tensorflow, slashed
from adapterzoo.formats.tensorflow.bundle import Bundle

__all__ = ["TABLE", "Bundle", "dotted", "files_of", "find_prefix", "open_tensorflow", "slashed"]
