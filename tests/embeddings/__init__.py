"""Named token embeddings."""
