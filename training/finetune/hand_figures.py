"""Pictures of what is being trained on: views with their true skeletons, and with what the network says."""

from typing import Final

import torch
from PIL import Image

from training.finetune.batch import HandBatch
from training.finetune.module import FinetuneModule
from training.finetune.targets import view_intrinsics
from training.runs.figures import draw_side_by_side, view_tile

_HANDS: Final = 12


def draw_last_hands(batch: HandBatch, module: FinetuneModule) -> Image.Image:
    """The first hands of the batch that ``module`` was just trained on: truth and estimate side by side.

    Joints that are not annotated lie at the middle of the others.
    """
    assert module.last is not None
    views, said = module.last
    estimate = module.estimator.decode(said, view_intrinsics(batch, views))
    apart = (estimate.keypoints - views.keypoints).norm(dim=2).where(batch.valid, torch.nan)
    errors_px = (apart.nanmean(dim=1) * views.images.shape[-1]).tolist()
    pairs = []
    for row, sample_id in enumerate(batch.sample_ids[:_HANDS]):
        missing = int((~batch.valid[row]).sum())
        unsure = f"{missing} joints not annotated" if missing else ""
        image = views.images[row]
        pairs.append(
            (
                view_tile(image, views.keypoints[row], (sample_id, unsure)),
                view_tile(image, estimate.keypoints[row], ("estimate", f"{errors_px[row]:.1f} px apart")),
            )
        )
    return draw_side_by_side(pairs)
