"""The networks that are trained: an encoder with its projection head, and estimators of hand poses."""
