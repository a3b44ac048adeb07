"""``python -m carlib`` is the command ``carlib``."""

import sys

from carlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
