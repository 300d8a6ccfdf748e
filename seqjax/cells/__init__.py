"""The catalogue: one family of cells per file."""
