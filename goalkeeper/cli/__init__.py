"""The command line. It parses, asks and prints; what it does is done by what it calls.

Importing it is cheap: each command imports what it needs when it runs.
"""

import os
import sys
from contextlib import suppress


def main() -> int:
    """Run the command line on `sys.argv`; answers the exit code."""
    from goalkeeper.cli.app import run

    code = run(sys.argv[1:])
    if "temporalio" in sys.modules:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """End at once, with all output written.

    Threads of Temporal's SDK outlive its client and can abort the process while Python tears
    itself down ("PyGILState_Release … Aborted"); everything of ours is closed by now.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
