"""``handsim export``: the weights of a trained encoder, for torchvision."""

import argparse
from pathlib import Path

from apps.places import home_of
from handsim.embedding.image.weights import read_trunk
from handsim.errors import HandsimError, NotThereError
from handsim.home import Home
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
    checkpoint, source = _checkpoint(options.checkpoint, home_of(options), options.best)
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


def _checkpoint(given: str, home: Home, best: bool) -> tuple[Path, str]:
    """The file, and what to call it where the home is not known."""
    path = Path(given)
    if path.is_file():
        if best:
            raise HandsimError(f"--best chooses among a run's checkpoints, and {path} is one; leave it out")
        return path, path.name
    is_name = path.name == given  # and not a path, which must not lead out of the runs
    found = home.runs / path.name / "checkpoints" / ("best.ckpt" if best else "last.ckpt")
    if is_name and found.is_file():
        return found, f"{given}/{found.name}"
    if is_name and found.parent.is_dir():
        kept = ", ".join(sorted(file.name for file in found.parent.glob("*.ckpt"))) or "none"
        raise NotThereError(
            f"run {given} has no {found.name} (it has {kept}); let it train on, or give a file"
        )
    runs = sorted(folder.parent.name for folder in home.runs.glob("*/checkpoints"))
    raise NotThereError(
        f"there is no checkpoint at {given}, and no run of that name in {home.runs} "
        f"(runs with checkpoints: {', '.join(runs) or 'none'}); give one of them, or a file"
    )
