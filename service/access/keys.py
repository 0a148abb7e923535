"""`python -m service.access.keys`, the former name of `python -m service.auth.keys`."""

import sys

from service.auth.keys import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
