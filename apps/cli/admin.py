"""``handsim pool subset``: a smaller pool, for what less data is worth.

``handsim models fetch``.

``handsim export``: the weights of a trained encoder, for torchvision.
"""

import argparse
from pathlib import Path

from apps.cli.console import find_checkpoint, find_home
from handsim.detection import fetch_model
from handsim.embedding.trunk import read_trunk
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool.subset import write_subset
from training.models.encoder import check_weights_path, write_torchvision


def add_pool_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    subset = actions.add_parser(
        "subset",
        help="a home with some of this home's hands: whole videos, smaller subsets within larger ones",
    )
    subset.add_argument("hands", type=int, metavar="HANDS", help="how many")
    subset.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="HOME",
        help="the home it goes in; crops are linked, not copied",
    )
    subset.set_defaults(run=_subset)


def _subset(options: argparse.Namespace) -> int:
    to = Home(options.to)
    write_subset(find_home(options).pool, to.pool, options.hands)
    print(f"{options.hands:,} hands in {to.pool}; next: handsim index build --home {to.path}")
    return 0


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="get MediaPipe's hand model once into the cache")
    fetch.add_argument("--to", type=Path, metavar="FILE", help="where to put it (default: the cache)")
    fetch.set_defaults(run=_fetch)


def _fetch(options: argparse.Namespace) -> int:
    fetched = fetch_model(options.to, print)
    print(f"{fetched.path}: {fetched.source}")
    return 0


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
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
    check_weights_path(out)
    checkpoint, source = find_checkpoint(options.checkpoint, find_home(options), best=options.best)
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
