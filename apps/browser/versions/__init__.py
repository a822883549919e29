"""The index's versions: how they stand, and what can be done to them."""
