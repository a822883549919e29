"""The server engine: an index on a Qdrant server."""
