"""Four readers of an embedded index whose rebuilder is killed again and again: `python -m benchmarks.chaos`.

Prints as JSON where it was killed, the problems, and what the readers saw and how long they waited; exits
with 1 when there was a problem. The short form is `tests/index/test_chaos.py`.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.index.chaos.stress import run_stress_test


def main() -> None:
    """Read the options, run the stress test, print its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kills", type=int, default=20, help="at least so many")
    parser.add_argument("--scale", type=int, default=15, help="of the pools, in 150 hands")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run_stress_test(
            Path(folder),
            kills=options.kills,
            seconds=options.minutes * 60,
            scale=options.scale,
            seed=options.seed,
        )
    print(json.dumps(report, indent=1))
    sys.exit(bool(report["problems"] or any(reader["failed"] for reader in report["readers"])))


if __name__ == "__main__":
    main()
