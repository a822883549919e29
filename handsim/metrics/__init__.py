"""How good it is, in numbers; nothing here knows where they came from."""
