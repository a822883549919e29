"""The embedded engine: an index in a directory, written and searched by Qdrant Edge."""
