"""The checkpoint that the tests of image embeddings have: what one reads, so does the other."""

from tests.handsim.embedding.conftest import checkpoint as checkpoint
from tests.handsim.embedding.conftest import network as network
