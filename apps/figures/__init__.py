"""What handsim draws for reports and runs; each function returns a matplotlib figure."""
