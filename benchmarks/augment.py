"""What a view costs: ours, a batch at a time, beside OpenCV, a sample at a time, on the same cores, as JSON.

python -m benchmarks.augment [--cores 1 2] [--batches 64 256] [--rounds 20] [--device cpu]

All pipelines take the same steps with the same random numbers, from crops in memory to float32 views [3, 128,
128] in 0..1; they take turns, so that all meet the same noise. `opencv` is written as one does,
`opencv_tables` as fast as can be (its colours go through tables of 256 entries). With --device cuda: ours
there, beside a training step of ResNet-50 on the views.
"""

import argparse
import json
import math
import multiprocessing
import statistics
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from benchmarks.clock import timed
from handsim.geometry import CROP_ENLARGEMENT, CROP_SIZE_PX
from handsim.synthetic import synthesise_poses
from training.augmentation import AugmentationSettings, augment
from training.augmentation.views import ViewParameters, draw_parameters

SETTINGS: Final = AugmentationSettings()
GPU_VIEWS: Final = 2048

Arrays = dict[str, NDArray[Any]]
Recolour = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]


def make_batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops uint8 [count, 224, 224, 3] of smooth noise, and keypoints [count, 21, 2] of synthetic hands."""
    blocks = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
    crops = np.stack([cv2.resize(block, (CROP_SIZE_PX, CROP_SIZE_PX)) for block in blocks])
    keypoints = synthesise_poses(count, hands_per_video=1, seed=0).keypoints[:, :, :2]
    return torch.from_numpy(crops), torch.from_numpy(np.ascontiguousarray(keypoints))


def ours(crops: torch.Tensor, keypoints: torch.Tensor) -> torch.Tensor:
    """Views of a whole batch."""
    return augment(crops, keypoints, SETTINGS, torch.Generator().manual_seed(0)).images


class OpenCV:
    """Views of a batch, sample by sample; several workers are processes, each with its share of the batch.

    Workers have the batch from the start and write into memory that all of them share; the batch is then
    taken over from there, as it is from a DataLoader's workers.
    """

    def __init__(
        self, recolour: Recolour, crops: torch.Tensor, keypoints: torch.Tensor, workers: int
    ) -> None:
        """Start the workers, if more than this process are asked for."""
        self._recolour = recolour
        self._crops, self._keypoints = crops.numpy(), keypoints.numpy()
        context = multiprocessing.get_context("fork")
        shape = (len(crops), 3, SETTINGS.size_px, SETTINGS.size_px)
        shared = context.RawArray("f", math.prod(shape)) if workers > 1 else None
        self._shared = None if shared is None else np.frombuffer(shared, np.float32).reshape(shape)
        self._shape = shape
        edges = np.linspace(0, len(crops), workers + 1).astype(int).tolist()
        self._shares = [range(*ends) for ends in pairwise(edges)]
        # Forked: a worker finds all of the above in its own memory.
        self._pool = context.Pool(workers, _begin, (self,)) if workers > 1 else None

    def __call__(self) -> torch.Tensor:
        """All views, in the order of the crops."""
        views = np.empty(self._shape, np.float32)
        if self._pool and self._shared is not None:
            self._pool.map(_make_share, self._shares, chunksize=1)
            views[:] = self._shared
        else:
            self.make(self._shares[0], views)
        return torch.from_numpy(views)

    def make_shared(self, samples: range) -> None:
        """The views of some samples, written into the memory that all workers share."""
        assert self._shared is not None
        self.make(samples, self._shared)

    def make(self, samples: range, views: NDArray[np.float32]) -> None:
        """The views of some samples, written where they belong among all."""
        numbers = _arrays(draw_parameters(SETTINGS, len(self._crops), torch.Generator().manual_seed(0)))
        for sample in samples:
            own = {key: column[sample] for key, column in numbers.items()}
            placed = _placed(self._crops[sample], self._keypoints[sample], own)
            coloured = self._recolour(placed, own["colour"])
            np.divide(coloured.transpose(2, 0, 1), np.float32(255), out=views[sample])

    def close(self) -> None:
        """Let the workers go."""
        if self._pool:
            self._pool.terminate()
            self._pool.join()


_mine: OpenCV
"""In a worker: what it works for."""


def _begin(pipeline: OpenCV) -> None:
    global _mine
    _mine = pipeline
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _make_share(samples: range) -> None:
    _mine.make_shared(samples)


def recolour_plainly(view: NDArray[np.uint8], colour: NDArray[np.float32]) -> NDArray[np.uint8]:
    """PeCLR's colour jitter, by arithmetic."""
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv *= colour[:3]
    hsv[..., 2] += colour[3]
    return _rgb(np.clip(hsv, 0, 255).astype(np.uint8))


def recolour_by_tables(view: NDArray[np.uint8], colour: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The same, by what becomes of each of the 256 values."""
    tables = np.arange(256, dtype=np.float32)[:, None] * colour[:3]
    tables[:, 2] += colour[3]
    tables = np.clip(tables, 0, 255).astype(np.uint8)[None]
    return _rgb(cv2.LUT(cv2.cvtColor(view, cv2.COLOR_RGB2HSV), tables).astype(np.uint8, copy=False))


def _rgb(hsv: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.uint8, copy=False)


def _placed(crop: NDArray[np.uint8], keypoints: NDArray[np.float32], own: Arrays) -> NDArray[np.uint8]:
    """Rotated, cut out around the hand, moved and resized, in one warp."""
    joints = keypoints * CROP_SIZE_PX
    centre = joints.mean(axis=0)
    matrix = cv2.getRotationMatrix2D(centre.tolist(), float(own["angle_deg"]), 1.0)
    radius = np.linalg.norm(joints - centre, axis=1).max()
    scale = SETTINGS.size_px / (float(own["margin"]) * 2 * radius)
    crop_px = CROP_ENLARGEMENT * np.ptp(joints, axis=0).max()
    matrix[:, 2] += own["jitter_px"] * crop_px / CROP_SIZE_PX - centre
    matrix *= scale
    # OpenCV's pixels have their centres at whole numbers, not at halves.
    matrix[:, 2] += SETTINGS.size_px / 2 + matrix[:, :2].sum(axis=1) / 2 - 0.5
    warped = cv2.warpAffine(
        crop,
        matrix,
        (SETTINGS.size_px, SETTINGS.size_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return warped.astype(np.uint8, copy=False)


def _arrays(parameters: ViewParameters) -> Arrays:
    return {
        "angle_deg": parameters.angle_deg.numpy(),
        "margin": parameters.margin.numpy(),
        "jitter_px": parameters.jitter_px.numpy(),
        "colour": parameters.colour.numpy().astype(np.float32),
    }


def compare(cores: int, count: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a view of each pipeline on so many cores."""
    crops, keypoints = make_batch(count)
    cv2.setNumThreads(1)
    tuned = OpenCV(recolour_by_tables, crops, keypoints, cores)
    plain = OpenCV(recolour_plainly, crops, keypoints, cores)
    torch.set_num_threads(cores)
    pipelines: dict[str, Callable[[], torch.Tensor]] = {
        "ours": partial(ours, crops, keypoints),
        "opencv": plain,
        "opencv_tables": tuned,
    }
    views = {name: pipeline().clone() for name, pipeline in pipelines.items()}
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(rounds):
        for name, pipeline in pipelines.items():
            seconds[name].append(timed(pipeline)[0])
    plain.close()
    tuned.close()
    figures: dict[str, Any] = {"cores": cores, "batch": count}
    for name, taken in seconds.items():
        figures[name] = {
            "best_ms_a_view": round(min(taken) / count * 1e3, 4),
            "median_ms_a_view": round(statistics.median(taken) / count * 1e3, 4),
            "views_a_second": round(count / min(taken)),
        }
    for name in ("opencv", "opencv_tables"):
        ratios = [theirs / own for theirs, own in zip(seconds[name], seconds["ours"], strict=True)]
        apart = float((views[name] - views["ours"]).abs().mean()) * 255
        figures[f"{name}_over_ours"] = {
            "of_best": round(min(seconds[name]) / min(seconds["ours"]), 2),
            "median_of_rounds": round(statistics.median(ratios), 2),
            "mean_difference_of_pixels_of_255": round(apart, 2),
        }
    return figures


def on_gpu(rounds: int) -> dict[str, Any]:
    """Milliseconds of augmenting a batch on the GPU, and of training a ResNet-50 on its views (bf16)."""
    device = torch.device("cuda")
    crops, keypoints = make_batch(256)
    repeats = GPU_VIEWS // len(crops)
    crops, keypoints = crops.repeat(repeats, 1, 1, 1).to(device), keypoints.repeat(repeats, 1, 1)
    network = models.resnet50(weights=None, num_classes=128).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    views = ours(crops, keypoints)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = network(views.contiguous(memory_format=torch.channels_last)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def awaited(work: Callable[[], object]) -> None:
        work()
        torch.cuda.synchronize()

    ms = {}
    for name, work in (("augment", partial(ours, crops, keypoints)), ("step", step)):
        awaited(work)
        ms[name] = min(timed(partial(awaited, work))[0] for _ in range(rounds)) * 1e3
    return {
        "gpu": torch.cuda.get_device_name(),
        "views": GPU_VIEWS,
        "augment_ms": round(ms["augment"], 2),
        "augment_ms_a_view": round(ms["augment"] / GPU_VIEWS, 5),
        "resnet50_step_ms": round(ms["step"], 2),
        "augment_share_of_step": round(ms["augment"] / (ms["augment"] + ms["step"]), 4),
        "peak_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    figures = (
        [on_gpu(options.rounds)]
        if options.device == "cuda"
        else [compare(cores, count, options.rounds) for cores in options.cores for count in options.batches]
    )
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
