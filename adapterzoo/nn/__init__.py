"""Floor 2, the network: one Transformer of layers with named sites, over padded or packed batches."""
