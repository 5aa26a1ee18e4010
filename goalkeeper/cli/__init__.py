"""The command line. It parses, asks and prints; what it does is done by what it calls.

Importing it is cheap: each command imports what it needs when it runs.
"""

import sys


def main() -> int:
    """Run the command line on `sys.argv`; answers the exit code."""
    from goalkeeper.cli.app import run

    return run(sys.argv[1:])
