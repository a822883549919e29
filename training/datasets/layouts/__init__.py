"""Synthetic hands written in the layouts of labelled datasets, as these are downloaded."""
