"""``handsim embedding fit|show``: the embedding of the home, of poses or (with ``--encoder``) of images."""

import argparse
from typing import Final

import numpy as np
from tqdm import tqdm

from apps.cli.cluster import add_cluster_argument, read_cluster_options
from apps.cli.console import add_action, find_home, format_command, format_table, progress_bar
from handsim.embedding import (
    LEAST_LABELLED,
    NORMALISATIONS,
    UNLABELLED,
    BlendEmbedding,
    Embedding,
    ImageEmbedding,
    PoseEmbedding,
    Unlabelled,
    lacks_depth,
    load_embedding,
)
from handsim.embedding.image import FEATURES
from handsim.embedding.pose import DEFAULT_COMPONENTS, DEFAULT_NORMALISATION
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool import Pool

IMAGE_DEFAULTS: Final = {"components": 64, "image_size_px": 224, "batch": 64, "device": "auto"}
"""Those of `ImageFitOptions`, for the help, which must not load torch; a test compares them."""
_BAR_WIDTH: Final = 40
_MAX_ROWS: Final = 20
"""A table of more components shows every second one, or every fourth, ..."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    fit = add_action(actions, "fit", "fit it over the pool; the next `index build` uses it")
    line = f"numbers for each hand ({DEFAULT_COMPONENTS}; with --encoder {IMAGE_DEFAULTS['components']})"
    fit.add_argument("--components", type=int, metavar="D", help=line)
    pose = fit.add_argument_group("poses (without --encoder)")
    line = f"what is taken out of the keypoints first ({DEFAULT_NORMALISATION})"
    pose.add_argument("--normalisation", choices=NORMALISATIONS, help=line)
    line = "a hand with unlabelled joints has no vector, or these joints are completed by the others (refuse)"
    pose.add_argument("--unlabelled", choices=UNLABELLED, help=line)
    line = "the keypoints' z counts, too: hands that differ in depth are apart"
    pose.add_argument("--depth", action="store_true", default=None, help=line)
    line = "hands are turned upright first: alike whichever way they are held in the picture"
    pose.add_argument("--up-to-turn", action="store_true", default=None, help=line)
    image = fit.add_argument_group("images (needs handsim[train])")
    image.add_argument(
        "--encoder",
        metavar="CHECKPOINT|resnet50",
        help="embed the crops: the weights of a ResNet, ConvNeXt-T or DINO (.pt, .pth, .safetensors), "
        "or resnet18 to resnet152 or convnext_tiny as trained on ImageNet",
    )
    image.add_argument("--batch", type=int, metavar="N", help=f"crops at a time ({IMAGE_DEFAULTS['batch']})")
    line = f"the side that crops are resized to for the encoder ({IMAGE_DEFAULTS['image_size_px']})"
    image.add_argument("--size", type=int, metavar="PX", help=line)
    line = "auto: a GPU where there is one (auto)"
    image.add_argument("--device", choices=("auto", "cpu", "cuda"), help=line)
    line = "leave them on disk, to fit again with other components without encoding"
    image.add_argument("--keep-features", action="store_true", default=None, help=line)
    add_cluster_argument(image)
    fit.set_defaults(run=_fit)
    add_action(actions, "show", "explained variance and fingerprint").set_defaults(run=_show)


def _fit(options: argparse.Namespace) -> int:
    home = find_home(options)
    pool = Pool.open(home.pool)
    if options.encoder is None:
        _refuse(
            options, ("batch", "size", "device", "keep_features", "ray"), "is for images; add --encoder to it"
        )
        components = DEFAULT_COMPONENTS if options.components is None else options.components
        normalisation = options.normalisation or DEFAULT_NORMALISATION
        unlabelled: Unlabelled = options.unlabelled or "refuse"
        embedding: Embedding = PoseEmbedding.fit(
            pool,
            components,
            normalisation,
            unlabelled,
            depth=bool(options.depth),
            up_to_turn=bool(options.up_to_turn),
        )
        embedding.save(home.embedding)
        if partly := int((pool.has_side & ~pool.is_complete).sum()):
            hands = pluralize(partly, "hand with unlabelled joints was", "hands with unlabelled joints were")
            print(f"{hands} left out of the fit")
        if options.depth and (flat := int((pool.is_usable & lacks_depth(pool.keypoints)).sum())):
            print(
                f"{pluralize(flat, 'hand without depth was', 'hands without depth were')} left out of the fit"
            )
    else:
        for_poses = ("normalisation", "unlabelled", "depth", "up_to_turn")
        _refuse(options, for_poses, "is for poses; leave it out with --encoder")
        embedding = _fit_image(options, home, pool)
    if line := pool.describe_unknown_sides():
        print(line)
    print(_describe(embedding))
    print(f"\nwritten to {home.embedding}; next: {format_command(options, 'index build')}")
    return 0


def _fit_image(options: argparse.Namespace, home: Home, pool: Pool) -> ImageEmbedding:
    from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding

    values = {
        "components": options.components,
        "image_size_px": options.size,
        "batch": options.batch,
        "device": options.device,
        "keep_features": options.keep_features,
    }
    fit_options = ImageFitOptions(**{name: value for name, value in values.items() if value is not None})
    cluster = read_cluster_options(options, gpus=fit_options.device != "cpu")
    with progress_bar("encoding") as progress:
        return fit_image_embedding(
            pool, options.encoder, home.embedding, fit_options, progress, cluster, say=tqdm.write
        )


def _refuse(options: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise HandsimError(f"--{name.replace('_', '-')} {why}")


def _show(options: argparse.Namespace) -> int:
    print(_describe(load_embedding(find_home(options).embedding)))
    return 0


def _describe(embedding: Embedding) -> str:
    """On what it was fitted, and a table of its components."""
    shares = embedding.explained_variance_ratio_
    step = -(-len(shares) // _MAX_ROWS)
    rows = [
        [str(number), f"{shares[number - 1]:.1%}", f"{total:.1%}", "█" * round(total * _BAR_WIDTH)]
        for number, total in enumerate(np.cumsum(shares), start=1)
        if number == 1 or number % step == 0 or number == len(shares)
    ]
    return (
        f"{_describe_components(embedding)},\n"
        f"fitted on {embedding.to_json()['fitted_hands']:,} hands, fingerprint {embedding.fingerprint}\n\n"
        + format_table([">component", ">explained", ">together", ""], rows)
    )


def _describe_components(embedding: Embedding) -> str:
    if isinstance(embedding, BlendEmbedding):
        shares = ((embedding.pose_share, embedding.pose), (1 - embedding.pose_share, embedding.image))
        parts = [
            f"{share:.0%} of a distance squared are {_describe_components(part)}" for share, part in shares
        ]
        return f"{embedding.dimension} components:\n" + ",\n".join(parts)
    if isinstance(embedding, ImageEmbedding):
        record = embedding.record
        kind = "ImageNet" if record.encoder == record.architecture else record.architecture
        features = FEATURES[record.architecture]
        source = f"{features} features of {record.encoder} ({kind}) at {record.image_size_px} px"
    else:
        coordinates = "63 coordinates in 2.5D" if embedding.depth else "42 2D coordinates"
        source = f"{coordinates}, normalisation {embedding.to_json()['normalisation']}"
        if embedding.up_to_turn:
            source += ", hands turned upright"
        if embedding.unlabelled == "complete":
            source += f", unlabelled joints completed (where {LEAST_LABELLED} are labelled)"
    return f"{embedding.dimension} components of {source}"
