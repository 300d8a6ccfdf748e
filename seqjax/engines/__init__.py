"""How a cell runs in time."""
