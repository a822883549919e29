"""The embedding of crops: a ResNet's pooled features and a PCA. Torch is loaded when something is encoded.

Beside the pool, in the home that both lie in, are kept:

    features/<trunk>-<size>/   while a fit goes on: what the ResNet says of each hand, half precision
    vectors/<fingerprint>/     the vectors of the hands that were embedded, by hand id
"""

from handsim.embedding.image.embedding import ImageEmbedding
from handsim.embedding.image.fit import ImageFitOptions, fit_image_embedding

__all__ = ["ImageEmbedding", "ImageFitOptions", "fit_image_embedding"]
