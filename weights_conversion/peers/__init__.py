"""Other libraries, each asked in a process of its own, so that none of them is ever imported by who uses ours."""
