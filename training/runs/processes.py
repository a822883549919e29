"""Which process of a distributed run this is, before anything distributed was started."""

import os


def is_first_process() -> bool:
    """Whether it is the one that makes the run's folder and writes there.

    Torchrun, Slurm and Lightning say in the environment which process of which machine they start.
    """
    for name in ("RANK", "SLURM_PROCID"):  # over all machines
        if name in os.environ:
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("NODE_RANK", "LOCAL_RANK"))
