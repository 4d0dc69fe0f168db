"""The parts of `adapterzoo.tokenizer`: files, vocabularies, texts in, batches out."""
