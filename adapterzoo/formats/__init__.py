"""Floor 5: file formats. Each is a table between our names and someone else's, read both ways."""
