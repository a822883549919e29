"""The map of the pose space: made once per index version, kept, coloured, and asked about."""
