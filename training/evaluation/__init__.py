"""How good an estimator of hand poses is on a split of a labelled dataset, and what is kept of it."""
