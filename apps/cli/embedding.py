"""``handsim embedding fit|show``."""

import argparse
from typing import Final, get_args

import numpy as np

from apps.cli.console import format_table, progress_bar
from handsim.embedding import (
    NORMALISATIONS,
    BlendEmbedding,
    Embedding,
    ImageEmbedding,
    PoseEmbedding,
    load_embedding,
)
from handsim.embedding.image import FEATURES, Device
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.embedding.pose import DEFAULT_COMPONENTS, DEFAULT_NORMALISATION
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool import Pool

_BAR_WIDTH: Final = 40
_ROWS: Final = 20
"""Components a table shows at most: beyond that it shows every second one, or every fourth, ..."""
_DEFAULTS: Final = ImageFitOptions()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    fit = actions.add_parser("fit", help="fit it over the pool; the next `index build` uses it")
    fit.add_argument(
        "--components",
        type=int,
        metavar="D",
        help=f"numbers a hand ({DEFAULT_COMPONENTS}; with --encoder {_DEFAULTS.components})",
    )
    pose = fit.add_argument_group("poses (without --encoder)")
    pose.add_argument(
        "--normalisation",
        choices=NORMALISATIONS,
        help=f"what is taken out of the keypoints first ({DEFAULT_NORMALISATION})",
    )
    image = fit.add_argument_group("pictures")
    image.add_argument(
        "--encoder",
        metavar="CHECKPOINT|resnet50",
        help="embed the crops: a ResNet's weights (.pt, .pth, .safetensors), "
        "or resnet18 to resnet152 as trained on ImageNet",
    )
    image.add_argument("--batch", type=int, metavar="N", help=f"crops at a time ({_DEFAULTS.batch})")
    image.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help=f"the side crops are resized to for the ResNet ({_DEFAULTS.image_size_px})",
    )
    image.add_argument("--device", choices=get_args(Device), help="auto: a GPU where there is one (auto)")
    image.add_argument(
        "--keep-features",
        action="store_true",
        default=None,
        help="leave them on disk, to fit again with other components without encoding",
    )
    fit.set_defaults(run=_fit)
    show = actions.add_parser("show", help="explained variance and fingerprint")
    show.set_defaults(run=_show)


def _fit(options: argparse.Namespace) -> int:
    home = Home.find(options.home)
    if options.encoder is None:
        _refuse(options, ("batch", "size", "device", "keep_features"), "is for pictures; add --encoder to it")
        pool = Pool.open(home.pool)
        poses = PoseEmbedding.fit(
            pool,
            DEFAULT_COMPONENTS if options.components is None else options.components,
            options.normalisation or DEFAULT_NORMALISATION,
        )
        poses.save(home.embedding)
        print(describe(poses))
    else:
        _refuse(options, ("normalisation",), "is for poses; leave it out with --encoder")
        print(describe(_fit_image(options, home)))
    print(f"\nwritten to {home.embedding}; `handsim index build` makes an index of it")
    return 0


def _fit_image(options: argparse.Namespace, home: Home) -> ImageEmbedding:
    given = {
        "components": options.components,
        "image_size_px": options.size,
        "batch": options.batch,
        "device": options.device,
        "keep_features": options.keep_features,
    }
    chosen = ImageFitOptions(**{name: value for name, value in given.items() if value is not None})
    with progress_bar("encoding") as progress:
        return fit_image_embedding(
            Pool.open(home.pool), options.encoder, home.embedding, chosen, progress=progress
        )


def _refuse(options: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise HandsimError(f"--{name.replace('_', '-')} {why}")


def _show(options: argparse.Namespace) -> int:
    print(describe(load_embedding(Home.find(options.home).embedding)))
    return 0


def describe(embedding: Embedding) -> str:
    """What it was fitted on and a table of its components, for the terminal."""
    shares = embedding.explained_variance_ratio_
    together = np.cumsum(shares)
    step = -(-len(shares) // _ROWS)
    rows = [
        [str(number), f"{shares[number - 1]:.1%}", f"{sum_:.1%}", "█" * round(sum_ * _BAR_WIDTH)]
        for number, sum_ in enumerate(together, start=1)
        if number == 1 or number % step == 0 or number == len(shares)
    ]
    return (
        f"{_components(embedding)},\n"
        f"fitted on {embedding.to_json()['fitted_hands']:,} hands, fingerprint {embedding.fingerprint}\n\n"
        + format_table([">component", ">explained", ">together", ""], rows)
    )


def _components(embedding: Embedding) -> str:
    """How many there are and what they are made of."""
    if isinstance(embedding, BlendEmbedding):
        parts = [
            f"{share:.0%} of a distance squared are {_components(part)}"
            for share, part in (
                (embedding.pose_share, embedding.pose),
                (1 - embedding.pose_share, embedding.image),
            )
        ]
        return f"{embedding.dimension} components:\n" + ",\n".join(parts)
    if isinstance(embedding, ImageEmbedding):
        record = embedding.record
        own = record.encoder != record.architecture
        network = f"{record.encoder} ({record.architecture})" if own else f"{record.encoder} (ImageNet)"
        what = f"{FEATURES[record.architecture]} features of {network} at {record.image_size_px} px"
    else:
        what = f"42 2D coordinates, normalisation {embedding.to_json()['normalisation']}"
    return f"{embedding.dimension} components of {what}"
