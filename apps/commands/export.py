"""``handsim export``: the weights of a trained encoder, for torchvision."""

import argparse
from pathlib import Path

from apps.places import checkpoint_of, home_of
from handsim.embedding.image.weights import read_trunk
from handsim.errors import HandsimError
from training.models.torchvision_file import check_target, write_torchvision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT|RUN",
        help="a checkpoint's file, or the name of a run in the home: its last checkpoint",
    )
    parser.add_argument("--best", action="store_true", help="of a run: its best checkpoint, not its last")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="where to write the weights: .pth (or .pt), .safetensors",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    out: Path = options.out
    check_target(out)
    checkpoint, source = checkpoint_of(options.checkpoint, home_of(options), best=options.best)
    if out.exists() and out.samefile(checkpoint):
        raise HandsimError(f"--out is the checkpoint itself, {checkpoint}; name another file")
    weights = read_trunk(str(checkpoint))
    write_torchvision(out, weights, source)
    numbers = sum(array.size for array in weights.tensors.values())
    read = "safetensors.torch.load_file" if out.suffix == ".safetensors" else "torch.load"
    print(
        f"{weights.architecture} of {checkpoint} ({numbers / 1e6:.1f} million numbers) in {out}; load it by "
        f"model = torchvision.models.{weights.architecture}(); model.fc = torch.nn.Identity(); "
        f"model.load_state_dict({read}({str(out)!r}))"
    )
    return 0
