"""Side by side: one command that times and measures memory against other libraries."""
