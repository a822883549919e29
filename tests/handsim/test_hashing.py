import numpy as np

from handsim.hashing import GOLDEN_GAMMA, hash64, mix64


def test_hashes_are_those_on_disk() -> None:
    """Ids, checksums and seeds hold them: they must never change."""
    states = [GOLDEN_GAMMA, 2 * GOLDEN_GAMMA % 2**64]
    # The first two numbers of SplitMix64 for the seed 0, from its authors' code.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    assert [mix64(state) for state in states] == expected
    assert mix64(np.array(states, dtype=np.uint64)).tolist() == expected
    assert hash64(b"hand") == 0x77ACCD9718BD69B4
