"""What every training run is made of: its folder, its recipe, its loop, its checkpoints and its numbers."""
