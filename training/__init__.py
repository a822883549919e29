"""Learning from the index: pre-training, fine-tuning, evaluation of 3D hand pose."""
