"""``python -m apps.cli`` is the console script ``handsim``."""

import sys

from apps.cli.main import main

sys.exit(main())
