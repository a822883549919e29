"""Whether all is there that an experiment takes from outside."""

from pathlib import Path

from handsim.embedding.image.architectures import FEATURES
from handsim.errors import HandsimError
from training.experiments.config import Experiment


def check_places(experiment: Experiment) -> None:
    """Raises HandsimError for a dataset, a pool or a checkpoint that is not there or not said where."""
    for name, dataset in experiment.data.datasets.items():
        if not dataset.is_filmed:
            _check_folder(f"data.datasets.{name}.root", dataset.root, "")
    for name, pool in experiment.data.pools.items():
        if not pool.is_filmed:
            setting = "data.home" if pool.home is None else f"data.pools.{name}.home"
            _check_folder(setting, pool.home or experiment.data.home, "pool")
    for name, method in experiment.axes.methods.items():
        init = method.init
        if init is not None and init not in ("start", *FEATURES) and not Path(init).is_file():
            raise HandsimError(
                f"axes.methods.{name}.init is {init}, which is no file; "
                f"it is start, a checkpoint, or one of {', '.join(FEATURES)}"
            )


def _check_folder(setting: str, folder: str | None, inside: str) -> None:
    if folder is None:
        raise HandsimError(f"{setting} is not set; say where it lies, with --{setting} FOLDER")
    if not (Path(folder) / inside).is_dir():
        what = f"has no folder {inside}" if inside else "is no folder"
        raise HandsimError(f"{setting} is {folder}, which {what}; give another one with --{setting} FOLDER")
