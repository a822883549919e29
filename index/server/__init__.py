"""The server engine: a Qdrant server behind the words of `index`."""
