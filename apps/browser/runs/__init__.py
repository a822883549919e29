"""What runs wrote, read while they are written, without what they are run with."""
