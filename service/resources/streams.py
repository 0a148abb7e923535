"""Standard streams that the parent process has closed.

The next file or connection that is opened would get the descriptor of a closed stream, and with it everything that
libraries print.
"""

import os
import sys


def open_standard_streams() -> None:
    """Open /dev/null in place of each closed standard stream."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest free one
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
