"""The embedded engine: Qdrant Edge behind the words of `index`."""
