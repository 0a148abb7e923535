"""`python -m benchmarks.passes --graphs DIR [SOURCE …]`: ablation of the graph rewrites, one pass or rule at a time.

Networks are traced once; DIR keeps their traced graphs. For each omission, nodes and movement nodes are counted, and
where they differ from those of the full rewrite, both graphs are timed: median CPU time of interleaved runs on one
thread, in ONNX Runtime and OpenVINO, without / with the rule, so a ratio above 1 is its gain.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import rewriter

import export.passes
from benchmarks.runtimes import Run, installed, open_runners
from benchmarks.traced import kept_or_traced
from benchmarks.zoo_graphs import MOVEMENT
from examples.digits.train import machine
from export.passes import fold_scales, fold_shifts
from export.passes.exact import NotFoldedError
from export.passes.graph import rewrite_graph
from export.passes.movement import compose, emit, orders, rows, sharing, views
from export.write.saving import save_graph

DIGITS = Path(__file__).parent.parent / "examples" / "digits" / "configs"
NETWORKS = (
    "timm:swin_tiny_patch4_window7_224",
    "timm:swinv2_tiny_window8_256",
    "timm:deit_tiny_patch16_224",
    "timm:vit_small_patch16_rope_224",
    "timm:eva02_tiny_patch14_224",
    "timm:gcvit_xxtiny",
    "timm:coatnet_rmlp_nano_rw_224",
    "timm:maxvit_tiny_tf_224",
    "timm:levit_128s",
    "timm:cait_xxs24_224",
    "timm:mobilevit_s",
    "python:benchmarks.zoo_networks:swin",
    *(f"posbake:{DIGITS / name}.json" for name in ("irpe-product-contextual-qkv", "rope", "swin-log-cpb")),
)


class _NoPass(ir.passes.InPlacePass):
    """No-op in place of a pass."""

    declined: Sequence[Any] = ()
    report: Sequence[Any] = ()

    def __init__(self, *_: object) -> None:
        super().__init__()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, modified=False)


def _declines(*_: object) -> Any:  # noqa: ANN401 -- replaces any rule
    raise NotFoldedError("left out")


Change = tuple[object, str, object]
"""Module or class, attribute, and its replacement."""
PASSES = (
    *("RemoveNoOps", "Unbroadcast", "PadInsteadOfConcat", "FoldRotations", "FoldBatchNorms", "FoldNorms", "FoldShifts"),
    *("FoldScales", "PropagateSlices", "ComposeMovement", "AssignTokenOrders"),
)
FORMS: dict[str, tuple[Change, ...]] = {
    "whole": (),
    **{name: ((export.passes, name, _NoPass),) for name in PASSES},
    "rewriter": ((rewriter, "rewrite", lambda model: model),),
    "FoldShifts, rule 1": ((fold_shifts.FoldShifts, "_into_products", _declines),),
    "FoldShifts, rule 2": ((fold_shifts.FoldShifts, "_into_the_next", _declines),),
    "FoldShifts, rule 3": ((fold_shifts.FoldShifts, "_into_the_product_above", _declines),),
    "FoldScales, rule 1": ((fold_scales, "fold_above", _declines),),
    "FoldScales, rule 2": ((fold_scales, "fold_below", _declines),),
    "FoldScales, rule 3": ((fold_scales, "_move_to_smaller", lambda *_: False),),
    "views: split at ends": ((views, "_split", lambda terms, *_: list(terms)),),
    "views: axes of size 1": ((views, "_with_ones", lambda made, places, _: (list(made), list(places))),),
    "views: Slice first": ((views, "_axes_of", lambda *_: None),),
    "rows: Gather first": ((rows, "_gather_first", lambda *_: iter(())),),
    "rows: Gather last": ((rows, "_gather_last", lambda *_: iter(())),),
    "sharing: others' ways": ((sharing, "_and_by_way_of_others", lambda number, _, plans, *__, **___: plans[number]),),
    "orders: fewer views": ((orders._Costs, "has_fewer_views", lambda *_: False),),
    "orders: states": ((orders, "_STATES", 1),),
    "orders: orders": ((orders, "_ORDERS", 3),),
    "emit: Split": ((emit.Emitter, "announce", lambda *_: None),),
    "compose: swap is free": ((compose, "_is_multiplied", lambda *_: False),),
}


def main() -> None:
    """Print a row for each network and omission whose nodes differ from the full rewrite's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passes", description=__doc__)
    parser.add_argument("sources", nargs="*", default=NETWORKS)
    parser.add_argument("--graphs", type=Path, required=True, metavar="DIR", help="folder of the traced graphs")
    parser.add_argument("--forms", nargs="*", default=list(FORMS), metavar="NAME", help=f"any of {', '.join(FORMS)}")
    parser.add_argument("--runs", type=int, default=0, help="timed runs per graph and runtime; default: 0, counts only")
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {version}" for name, version in installed().items())
    print(f"{datetime.now(UTC).date()}, {machine()}, {versions}, one thread, batch {options.batch}\n")
    timed = list(installed()) if options.runs else []
    columns = ["network", "left out", "nodes", "movement nodes", *(f"{name}, without / with" for name in timed)]
    print(f"| {' | '.join(columns)} |\n| --- | --- |{' ---: |' * (len(columns) - 2)}")
    for source in options.sources:
        with tempfile.TemporaryDirectory() as folder:
            _compare(source, options, timed, Path(folder))


def _compare(source: str, options: argparse.Namespace, timed: Sequence[str], folder: Path) -> None:
    whole, graph = folder / "whole.onnx", folder / "form.onnx"
    counts: dict[str, Counter[str]] = {}
    stored: dict[str, int] = {}
    for name in dict.fromkeys(("whole", *options.forms)):
        with _left_out(FORMS[name]):
            try:
                model = rewrite_graph(kept_or_traced(source, options.graphs)).model
            except Exception as error:  # noqa: BLE001 -- a failure becomes the row
                print(f"| `{_shown(source)}` | {name} | fails: {error} |{' |' * (1 + len(timed))}", flush=True)
                continue
        counts[name] = Counter(node.op_type for node in model.graph.all_nodes())
        stored[name] = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
        if name == "whole":
            save_graph(model, whole)
        if name != "whole" and (counts[name], stored[name]) == (counts["whole"], stored["whole"]):
            continue
        ratios = []
        if name != "whole" and timed:
            save_graph(model, graph)
            for runtime in timed:
                first, second = _medians(open_runners(runtime, [whole, graph], 1), model, options)
                ratios.append(f"{second / first:.3f}")
        cells = [f"`{_shown(source)}`", name, *_compared(counts[name], counts["whole"]), *ratios]
        print(f"| {' | '.join(cells)} |", flush=True)


def _shown(source: str) -> str:
    return re.sub(r".*[:/]", "", source).removesuffix(".json")


def _compared(found: Counter[str], whole: Counter[str]) -> Iterator[str]:
    for count in (Counter.total, lambda counts: sum(counts[name] for name in MOVEMENT)):
        there, more = count(whole), count(found) - count(whole)
        yield f"{there} {more:+d} ({100 * more / there:+.0f} %)" if more else str(there)


@contextmanager
def _left_out(changes: Sequence[Change]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, instead in changes:
            stack.enter_context(mock.patch.object(owner, name, instead))
        yield


def _medians(runners: Sequence[Run], model: ir.Model, options: argparse.Namespace) -> list[float]:
    """Return each runner's median CPU time over interleaved runs, after two warm-up runs."""
    sizes = [size for size in model.graph.inputs[0].shape or () if isinstance(size, int)]  # all but the batch
    images: Any = np.random.default_rng(0).integers(0, 256, (options.batch, *sizes)).astype(np.uint8)
    times: list[list[float]] = [[] for _ in runners]
    for number in range(options.runs + 2):
        for run, taken in zip(runners, times, strict=True):
            start = time.process_time()
            run(images)
            if number >= 2:
                taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
