"""What pre-training and encoding cost on one GPU, as JSON: two of the figures that `benchmarks.scale` needs.

    python -m benchmarks.gpu_costs
    python -m benchmarks.gpu_costs --device cpu --architecture resnet18 --batch 16 --view 64 --hands 99

Pre-training is `handsim pretrain` with two views of each hand (the recipe ``peclr_w``), so that no index is
asked: what that adds is measured by `benchmarks.pretrain`. Views are counted from the crop's JPEG on: read,
decoded, augmented, trained on. ``ceiling`` is the same step on views that lie in the GPU's memory. Encoding
is the frozen network of `handsim embedding fit`, from the JPEG to the pooled features, with random weights.

It needs torch, torchvision, lightning, jsonargparse (with its ``signatures``), safetensors, cv2, matplotlib,
pyarrow and Pillow, and none of av, mediapipe and qdrant. The crops are of hands that it renders.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.ceiling import ceiling
from benchmarks.clock import say
from benchmarks.memory import memory_gb
from benchmarks.pretrain import time_spent
from benchmarks.repeated_hands import make_pool
from benchmarks.trainer import fill_in, machine, trainer_options
from handsim.embedding.image_encoder import extract_hand_features
from handsim.embedding.networks import build_network
from handsim.embedding.trunk import Trunk, TrunkWeights
from handsim.home import Home
from handsim.pool import Pool
from handsim.processes import available_cores
from training.pairs.open_pairs import open_pairs
from training.pretrain.config import RECIPES, PretrainConfig
from training.pretrain.train import pretrain
from training.runs.folder import RunFolder

_WORKERS = max(0, available_cores() - 2)
_DEFAULTS = {
    "cpu": {"precision": "32-true", "workers": _WORKERS},
    "cuda": {"precision": "bf16-mixed", "workers": _WORKERS},
}
"""Of a device."""
_CROP_PX = 224
_LONGEST_S = 45.0
"""So long at most one encoding is measured."""
_ENCODED_TOGETHER = 256


def config_of(options: argparse.Namespace, steps: int) -> PretrainConfig:
    """The recipe with the settings of this measurement."""
    given = {
        "encoder.architecture": options.architecture,
        "augmentation.size_px": options.view,
        "log.checkpoint_every_steps": steps,
    }
    epochs = -(-steps // max(1, options.hands // options.batch))
    words = trainer_options(options, given, batch=options.batch, steps=steps, epochs=epochs)
    return RECIPES.read("peclr_w", words)


def measure_training(options: argparse.Namespace, home: Home, pool: Pool) -> dict[str, Any]:
    """Views a second of a run after its first steps, and of the same step with nothing to load."""
    config = config_of(options, options.warm_up + options.steps)
    folder = RunFolder.new(home, "costs")
    pretrain(config, home, None, folder, say=say)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    figures: dict[str, Any] = time_spent(lines[options.warm_up :], 2 * options.batch)
    say("the ceiling")
    with open_pairs(
        config.pairs, pool, None, batch_size=options.batch, seed=config.seed, on_event=say
    ) as pairs:
        batch = next(pairs.epoch(0)).to(options.device)
    figures["ceiling"] = ceiling(config, batch, options.steps, options.warm_up)
    if options.device == "cuda":
        figures["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
    return figures


def measure_encoding(options: argparse.Namespace, pool: Pool, size_px: int) -> dict[str, Any]:
    """Crops a second from the JPEG to the features, the first batches left out."""
    say(f"encoding at {size_px} px")
    network = build_network(options.architecture)
    tensors = {
        name: tensor.numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    trunk = Trunk(TrunkWeights("random", options.architecture, tensors), size_px, options.device)
    together = min(_ENCODED_TOGETHER, len(pool) // 4)
    chunks = [pool.hand_ids[start : start + together] for start in range(0, len(pool), together)]
    encoded, started, ends = 0, 0.0, time.monotonic() + _LONGEST_S
    for number, features in enumerate(extract_hand_features(pool, chunks, trunk, together)):
        if number == 0:
            started = time.perf_counter()
        else:
            encoded += len(features)
        if time.monotonic() > ends:
            break
    return {
        "image_size_px": size_px,
        "crops_per_s": round(encoded / (time.perf_counter() - started), 1),
        "crops": encoded,
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--architecture", default="resnet50")
    parser.add_argument("--batch", type=int, default=1024, help="pairs of a step")
    parser.add_argument("--view", type=int, default=128, help="side of a view")
    parser.add_argument("--precision", help="default: bf16-mixed, on a CPU 32-true")
    parser.add_argument("--hands", type=int, default=40_960, help="of the pool that is made")
    parser.add_argument("--workers", type=int, help="processes that decode (default: all cores but two)")
    parser.add_argument("--steps", type=int, default=40, help="that are measured")
    parser.add_argument("--warm-up", type=int, default=8, help="steps before them")
    options = parser.parse_args(arguments)
    fill_in(options, _DEFAULTS)
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    with tempfile.TemporaryDirectory() as made:
        home = Home(Path(made) / "home")
        say(f"a pool of {options.hands:,} hands")
        pool = make_pool(home, options.hands, _CROP_PX)
        report = {
            **machine(options.device),
            "hands": len(pool),
            "settings": vars(options),
            "training": measure_training(options, home, pool),
            "encoding": [measure_encoding(options, pool, size_px) for size_px in (_CROP_PX, options.view)],
        }
        pool.close()
    report["process_memory_gb"] = round(memory_gb(os.getpid(), "VmHWM"), 2)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
