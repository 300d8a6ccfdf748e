"""Loops over time as one kernel: the state stays in the memory of the core, and so do weights."""
