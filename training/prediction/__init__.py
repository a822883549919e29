"""Hands in pictures that nobody labelled: found, cut out as the estimator knows them, estimated."""
