"""The server engine: an index on a Qdrant server."""

import os

# Else gRPC writes lines of its own about a refused certificate, beside the one for people.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
