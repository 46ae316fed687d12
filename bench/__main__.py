"""``python -m bench``.

The processes that a measurement starts import this module too: it brings nothing along that they do not need.
"""

import sys

if __name__ == "__main__":
    from bench.cli import main

    sys.exit(main())
