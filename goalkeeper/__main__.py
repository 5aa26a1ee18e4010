"""`python -m goalkeeper`: the command line. It holds no logic of its own."""

import sys

from goalkeeper.cli import main

if __name__ == "__main__":
    sys.exit(main())
