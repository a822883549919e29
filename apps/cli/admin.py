"""Small commands: ``handsim models fetch`` and ``handsim export``."""

import argparse
from pathlib import Path

from apps.cli.console import find_checkpoint, find_home
from handsim.errors import HandsimError


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim models``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="get MediaPipe's hand model once into the cache")
    fetch.add_argument("--to", type=Path, metavar="FILE", help="where to put it (default: the cache)")
    fetch.set_defaults(run=_fetch)


def _fetch(options: argparse.Namespace) -> int:
    from handsim.detection import fetch_model

    model = fetch_model(options.to, print)
    print(f"{model.path}: {model.source}")
    return 0


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim export``."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT|RUN",
        help="a checkpoint's file, or the name of a run in the home: its last checkpoint",
    )
    parser.add_argument("--best", action="store_true", help="of a run: its best checkpoint, not its last")
    line = "the file: .pth (or .pt), or .safetensors"
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=line)
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from handsim.embedding.trunk import read_trunk
    from training.models.encoder import check_weights_path, write_torchvision

    out: Path = options.out
    check_weights_path(out)
    checkpoint, source = find_checkpoint(options.checkpoint, find_home(options), best=options.best)
    if out.exists() and out.samefile(checkpoint):
        raise HandsimError(f"--out is the checkpoint itself, {checkpoint}; name another file")
    weights = read_trunk(str(checkpoint))
    write_torchvision(out, weights, source)
    numbers = sum(array.size for array in weights.tensors.values())
    loader = "safetensors.torch.load_file" if out.suffix == ".safetensors" else "torch.load"
    print(
        f"{weights.architecture} of {checkpoint} ({numbers / 1e6:.1f} million numbers) in {out}; load it by "
        f"model = torchvision.models.{weights.architecture}(); model.fc = torch.nn.Identity(); "
        f"model.load_state_dict({loader}({str(out)!r}))"
    )
    return 0
