"""From what is written to the embedding it describes, whichever kind it is."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from handsim.embedding.base import Embedding, not_an_embedding, read_facts
from handsim.embedding.blend import FORMAT as BLEND_FORMAT
from handsim.embedding.blend import BlendEmbedding
from handsim.embedding.image import FORMAT as IMAGE_FORMAT
from handsim.embedding.image import ImageEmbedding
from handsim.embedding.pose import FORMAT as POSE_FORMAT
from handsim.embedding.pose import PoseEmbedding


def load_embedding(path: str | Path) -> Embedding:
    """Read what an embedding's ``save`` wrote; raises NotThereError, or HandsimError when it cannot be used.

    The weights of an encoder are looked for beside it, once they are needed.
    """
    path = Path(path)
    return _from_facts(read_facts(path), [path.parent], path)


def embedding_from_facts(facts: dict[str, Any], weights_folders: Iterable[str | Path] = ()) -> Embedding:
    """The embedding that told these ``facts``; raises HandsimError when they are damaged or altered.

    The weights file of an encoder is looked for in ``weights_folders``, in turn, once it has to encode.
    """
    return _from_facts(facts, [Path(folder) for folder in weights_folders], "the index's embedding")


def _from_facts(facts: dict[str, Any], folders: Sequence[Path], origin: str | Path) -> Embedding:
    name = facts.get("format")
    if name == POSE_FORMAT:
        return PoseEmbedding.from_facts(facts, origin)
    if name == IMAGE_FORMAT:
        return ImageEmbedding.from_facts(facts, folders, origin)
    if name == BLEND_FORMAT:
        return BlendEmbedding.from_facts(facts, folders, origin)
    raise not_an_embedding(origin, f"its format is {name!r}")
