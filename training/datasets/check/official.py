"""How many hands the official datasets have in each split."""

from typing import Final

OFFICIAL_HANDS: Final[dict[str, dict[str, int]]] = {
    "freihand": {"train": 123_728, "train_v0": 30_932, "val": 6_512, "eval": 3_960},
    "dexycb": {
        "s0_train": 406_888,
        "s0_val": 22_728,
        "s0_test": 78_768,
        "s1_train": 356_600,
        "s1_val": 47_656,
        "s1_test": 104_128,
        "s2_train": 381_288,
        "s2_val": 63_548,
        "s2_test": 63_548,
        "s3_train": 381_288,
        "s3_val": 50_736,
        "s3_test": 76_360,
    },
}
"""By dataset and split. FreiHAND: 32,560 training hands in four versions, of which 1,628 are our validation
split, and 3,960 for evaluation. DexYCB: the hand annotations in table 9 of the paper (arXiv 2104.04631). For
the public splits of AssemblyHands no count could be confirmed."""
