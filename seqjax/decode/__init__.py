"""From states to sequences."""
