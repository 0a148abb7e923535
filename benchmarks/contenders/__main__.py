"""`python -m benchmarks.contenders NAME…`: make the environments of contenders of `benchmarks.serving`."""

import argparse

from benchmarks.contenders.environments import NAMES, Apart


def main() -> None:
    """Make them one after the other; what is there already stays."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders", description=__doc__)
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    for name in dict.fromkeys(parser.parse_args().names):
        Apart(name).make()
        print(f"{name}: {Apart(name).python}")


if __name__ == "__main__":
    main()
