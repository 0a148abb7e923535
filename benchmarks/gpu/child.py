"""`python -m benchmarks.gpu.child MODULE:FUNCTION SETTINGS FILE`: run a part; write its rows and outcome to FILE.

Each line of the file is a JSON object: a row, or finally the outcome (`done`, `skipped` or `failed`) and its reason.
"""

import json
import logging
import sys
import traceback
from dataclasses import asdict
from importlib import import_module

from benchmarks.gpu.part import FailedError, Part, Row, Settings, SkippedError

OURS = ("artifact", "benchmarks", "examples", "export", "imaging", "models", "service")
"""Packages of this repository; if one is missing, the part fails instead of being skipped."""


def main(entry: str, settings: str, path: str) -> None:
    """Run a part."""
    logging.basicConfig(level=logging.INFO)  # backends log which batches they pad
    module, _, function = entry.partition(":")
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 -- kept open, each line flushed

        def write(line: dict[str, object]) -> None:
            print(json.dumps(line), file=file, flush=True)

        def emit(row: Row) -> None:
            write(asdict(row))

        try:
            part: Part = getattr(import_module(module), function)
            part(Settings.from_json(settings), emit)
        except SkippedError as error:
            write({"outcome": "skipped", "reason": str(error)})
        except ModuleNotFoundError as error:
            ours = str(error.name).partition(".")[0] in OURS
            write({"outcome": "failed" if ours else "skipped", "reason": f"{error}; install the packages of this part"})
        except FailedError as error:
            write({"outcome": "failed", "reason": str(error)})
        except Exception as error:  # noqa: BLE001 -- any exception fails the part
            traceback.print_exc()
            write({"outcome": "failed", "reason": f"{type(error).__name__}: {error}"})
        else:
            write({"outcome": "done", "reason": ""})


if __name__ == "__main__":
    main(*sys.argv[1:])
