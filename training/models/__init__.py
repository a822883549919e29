"""The networks that are trained, and the way of their weights in and out."""
