"""What pre-training will see under a mining policy, tried on a sample of the hands."""
