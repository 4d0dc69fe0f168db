"""Floor 5: file formats. Each is a table between our names and someone else's, read both ways.

content = read("my-adapter")  # what a directory or a repository on the Hub holds, under the files' own names
write(content, "copy", dtype=torch.bfloat16)
"""

from adapterzoo.formats.content import Content, read, write

__all__ = ["Content", "read", "write"]
