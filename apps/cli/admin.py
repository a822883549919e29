"""Small commands: ``handsim models fetch`` and ``handsim export``."""

import argparse
from pathlib import Path

from apps.cli.console import add_action, find_checkpoint, find_home
from apps.extras import require_library
from handsim.errors import HandsimError


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim models``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    fetch = add_action(actions, "fetch", "get MediaPipe's hand model once into the cache")
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
    line = "the file: .pth (or .pt) or .safetensors for a trunk as torchvision names it, or .onnx"
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=line)
    line = (
        "onnx: a run of `handsim finetune` as an estimator of poses, anything else as an encoder, checked by "
    )
    line += "ONNX Runtime (default: by the ending of --out)"
    parser.add_argument("--format", choices=("torchvision", "onnx"), help=line)
    line = "side of the images that an encoder of a file takes in ONNX (of a run: that of its views)"
    parser.add_argument("--size-px", type=int, metavar="S", help=line)
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    out: Path = options.out
    is_onnx = out.suffix == ".onnx" if options.format is None else options.format == "onnx"
    if is_onnx != (out.suffix == ".onnx"):
        raise HandsimError(f"--format is {options.format} and --out is {out}; files of ONNX end in .onnx")
    if options.size_px is not None and not is_onnx:
        raise HandsimError(f"--size-px is for ONNX, and --out is {out}; leave one of them out")
    for name in ("onnx", "onnxscript", "onnxruntime") if is_onnx else ("torch",):
        require_library(name)
    checkpoint, source = find_checkpoint(options.checkpoint, find_home(options), best=options.best)
    if out.exists() and out.samefile(checkpoint):
        raise HandsimError(f"--out is the checkpoint itself, {checkpoint}; name another file")
    return (_export_onnx if is_onnx else _export_trunk)(checkpoint, source, out, options.size_px)


def _export_trunk(checkpoint: Path, source: str, out: Path, size_px: int | None) -> int:
    from handsim.embedding.trunk import read_trunk
    from training.models.encoder import check_weights_path, write_torchvision

    check_weights_path(out)
    weights = read_trunk(str(checkpoint))
    write_torchvision(out, weights, source)
    numbers = sum(array.size for array in weights.tensors.values())
    print(
        f"{weights.architecture} of {checkpoint} ({numbers / 1e6:.1f} million numbers) in {out}; "
        f"{_how_to_load(weights.architecture, out)}"
    )
    return 0


def _how_to_load(architecture: str, out: Path) -> str:
    loader = "safetensors.torch.load_file" if out.suffix == ".safetensors" else "torch.load"
    if architecture.startswith("vit_"):
        return f"{loader}({str(out)!r}) has its weights by the names of Meta's DINOv2"
    last = "classifier[2]" if architecture.startswith("convnext") else "fc"
    return (
        f"load it by model = torchvision.models.{architecture}(); model.{last} = torch.nn.Identity(); "
        f"model.load_state_dict({loader}({str(out)!r}))"
    )


def _export_onnx(checkpoint: Path, source: str, out: Path, size_px: int | None) -> int:
    from training.onnx_export import export_onnx

    record = export_onnx(out, checkpoint, source, size_px)
    use = f"`handsim predict --model {out}` runs it" if record.kind == "estimator" else "its metadata say how"
    print(
        f"{record.kind} ({record.architecture}) of {checkpoint} in {out}, checked by ONNX Runtime; it takes "
        f"RGB crops of {record.size_px} x {record.size_px} pixels in 0..1; {use}"
    )
    return 0
