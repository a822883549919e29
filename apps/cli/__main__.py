"""``python -m apps.cli`` is the console script ``handsim``."""

import os
import sys

from apps.cli.main import main

if sys.flags.safe_path:
    # -P is not handed on by Lightning, which starts the processes of a distributed run; its variable is.
    os.environ["PYTHONSAFEPATH"] = "1"
sys.exit(main())
