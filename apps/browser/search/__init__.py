"""Asking for similar hands: the question, its answer, and the parts of the page around them."""
