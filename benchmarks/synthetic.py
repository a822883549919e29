"""How fast synthetic hands are made: ``python -m benchmarks.synthetic`` prints JSON."""

import json
import time

import torch

from handsim.synthetic import SyntheticConfig, synthesise, synthesise_poses

VIDEOS, HANDS_PER_VIDEO = 32, 20
POSE_VIDEOS, POSES_PER_VIDEO = 1000, 100


def images_per_s(size_px: int) -> float:
    """Rendered pictures a second, everything but JPEG included."""
    config = SyntheticConfig(videos=VIDEOS, hands_per_video=HANDS_PER_VIDEO, seed=1, size_px=size_px)
    next(synthesise(config))  # the first pictures start torch's threads
    started = time.perf_counter()
    images = sum(len(samples) for samples in synthesise(config))
    return images / (time.perf_counter() - started)


def poses_per_s() -> float:
    """Poses a second without pictures."""
    started = time.perf_counter()
    poses = synthesise_poses(POSE_VIDEOS, POSES_PER_VIDEO, seed=1)
    return len(poses.keypoints) / (time.perf_counter() - started)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "images_per_s_128px": round(images_per_s(128), 1),
                "images_per_s_224px": round(images_per_s(224), 1),
                "poses_per_s": round(poses_per_s()),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            },
            indent=2,
        )
    )
