"""Fine-tuning for 3D hand pose on a labelled dataset, and estimating poses with what came of it."""
