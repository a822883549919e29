"""From an embedding's JSON to the embedding, whichever kind it is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from handsim.embedding import blend, image, pose
from handsim.embedding.base import Embedding, not_an_embedding, read_embedding_json


def load_embedding(path: str | Path) -> Embedding:
    """Read what an embedding's ``save`` wrote; raises NotThereError, or HandsimError when it cannot be used.

    The weights file of an encoder is looked for in the same folder, once it is needed.
    """
    path = Path(path)
    return embedding_from_json(read_embedding_json(path), [path.parent], path)


def embedding_from_json(
    metadata: dict[str, Any],
    weights_folders: Iterable[str | Path] = (),
    origin: str | Path = "the index's embedding",
) -> Embedding:
    """The inverse of `Embedding.to_json`; raises HandsimError that names ``origin`` for altered values.

    The weights file of an encoder is looked for in ``weights_folders``, in turn, once it is needed.
    """
    name, folders = metadata.get("format"), [Path(folder) for folder in weights_folders]
    if name == pose.FORMAT:
        return pose.PoseEmbedding.from_json(metadata, origin)
    if name == image.FORMAT:
        return image.ImageEmbedding.from_json(metadata, folders, origin)
    if name == blend.FORMAT:
        return blend.BlendEmbedding.from_json(metadata, folders, origin)
    raise not_an_embedding(origin, f"its format is {name!r}")
