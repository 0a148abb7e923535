"""`python -m benchmarks.contenders NAME…`: create the environments of servers that `benchmarks.serving` compares."""

import argparse

from benchmarks.contenders.environments import NAMES, Apart


def main() -> None:
    """Create the environments one after the other; existing ones are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders", description=__doc__)
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    for name in dict.fromkeys(parser.parse_args().names):
        Apart(name).make()
        print(f"{name}: {Apart(name).python}")


if __name__ == "__main__":
    main()
