"""Pre-training against the live index: what a recipe says, and the loop that does it."""
