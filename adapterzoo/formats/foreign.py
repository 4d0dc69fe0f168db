"""What a checkpoint of another library comes to: a config of ours, tensors under Hugging Face's names, and a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from adapterzoo.archs.config import ModelConfig
from adapterzoo.store import FileError, write_json, write_tensors, write_text
from adapterzoo.writing import together


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        FileError: it is none.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 text: {error}") from error


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of another library, turned into Hugging Face's names.

    Attributes:
        config: the model's config.
        tensors: its tensors by HF's names. They show the files that they were read from, as far as they can.
        class_name: the class that they are whole for: "RobertaForMaskedLM".
        files: texts of other files by name: a tokenizer's.
        unused: foreign tensors that are not needed: other heads, an optimiser's, second copies of tied weights.
        names: the foreign names of `tensors`, by HF's; those that were made and are in no file have none.
        transposed: HF's names of those that lie in the file with their two dimensions the other way round.
    """

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    class_name: str
    files: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    transposed: frozenset[str] = frozenset()

    def write(self, folder: Path) -> None:
        """Write it as an HF directory, which appears whole or not at all: config.json, model.safetensors, `files`."""
        with together():
            write_tensors(folder / "model.safetensors", self.tensors)
            write_json(folder / "config.json", {**self.config.to_dict(), "architectures": [self.class_name]})
            for name, text in self.files.items():
                write_text(folder / name, text)
