"""Experiments: one file describes many runs; what is missing is run, tables are made of what is there."""
