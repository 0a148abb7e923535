"""Steps of an export in fp16, bf16 or int8, which follow the steps of the float32 export."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch import nn

from artifact import Batch, Calibration, Graph, Parity, Precision, Preprocess, Task
from export.precision.calibration import CalibrationImages, load_calibration
from export.precision.emulate import run_lowered
from export.precision.flat_gathers import FlatGathers
from export.precision.half import HALVES, ToHalf
from export.precision.int8 import quantize
from export.precision.part_transposes import PartTransposes
from export.process.errors import ExportError
from export.verify.parity import LIMITS, Limits, check_lowered
from export.verify.reference import Reference, reference_on
from export.write.describe import describe_graph
from export.write.saving import save_graph

_CHUNK = 8
"""Batch size of the runs."""


@dataclass(frozen=True)
class Lowering:
    """Requested precision.

    Attributes:
        precision: fp16, bf16 or int8.
        limits: minimum cosine and top-1 agreement of the logits.
        images: images for calibration and comparison; None means synthetic images.
    """

    precision: str
    limits: Limits
    images: CalibrationImages | None

    def reference(self, network: nn.Module, random: Reference, batch: Batch) -> Reference:
        """Return the network's logits of the calibration images, or `random` if there are none.

        A last batch below the minimum batch size of the graph is omitted.

        Raises:
            ExportError: there are fewer images than the minimum batch size.
        """
        if self.images is None:
            return random
        size = min(max(batch.min, _CHUNK), batch.max)
        images = torch.from_numpy(self.images.pixels)
        chunks = (images[start : start + size] for start in range(0, len(images), size))
        pixels = tuple(chunk for chunk in chunks if len(chunk) >= batch.min)
        if not pixels:
            raise ExportError(
                f"{len(self.images.pixels)} calibration images are fewer than the minimum batch size {batch.min}; "
                "give more images, or a smaller --batch"
            )
        return reference_on(network, pixels, random.normalisation)

    def rewrite(self, graph: Path, reference: Reference, *, takes_pixels: bool) -> Graph:
        """Replace the float32 graph by one in this precision, and return its description for the manifest.

        Raises:
            ExportError: a weight overflows, the graph cannot be quantized, or the result is not valid ONNX.
        """
        model = ir.load(graph)
        if self.precision in HALVES:
            to_half = ToHalf(HALVES[self.precision])
            to_half(model)
            PartTransposes()(model)
            common.DeduplicateHashedInitializersPass(size_limit=2**40)(model)  # constants that are equal after rounding
            facts = describe_graph(model).model_copy(update={"float32_nodes": to_half.kept})
        else:
            FlatGathers()(model)
            model, kept = quantize(model, reference, self.limits, takes_pixels=takes_pixels)
            facts = describe_graph(model).model_copy(update={"float32_nodes": kept or None})
        _replace(graph, model)
        return facts

    def check_task(self, task: Task) -> None:
        """Raise ExportError for regression, which has no top-1 class."""
        if task == "regression":
            raise ExportError(
                f"--precision {self.precision} is checked by the cosine and top-1 agreement of logits, which do not "
                "apply to regression; use fp32"
            )

    def check(self, graph: Path, reference: Reference, single: Parity, *, takes_pixels: bool) -> Parity:
        """Return the parity of the graph (`check_lowered`); `single` is the parity of the float32 graph."""
        count = sum(map(len, reference.pixels))
        used = None if self.images is None else Calibration(directory=self.images.directory, images=count)
        runs = run_lowered(self.precision, graph, reference, takes_pixels=takes_pixels)
        return check_lowered(self.precision, runs, reference, single, self.limits, used)


def prepare_lowering(
    precision: Precision,
    calibration: Path | None,
    steps: Preprocess,
    min_cosine: float | None,
    min_agreement: float | None,
) -> Lowering | None:
    """Return the requested lowering, with its images loaded; None for float32.

    Raises:
        ExportError: int8 without images, unusable images, or options that do not apply to float32.
    """
    if precision == "fp32":
        if calibration is not None or min_cosine is not None or min_agreement is not None:
            raise ExportError(
                "--calibration, --min-cosine and --min-agreement require --precision fp16, bf16 or int8; "
                "fp32 is checked by its largest error"
            )
        return None
    if precision == "int8" and calibration is None:
        raise ExportError(
            "--precision int8 requires images for the calibration of activation ranges; give their directory with "
            "--calibration DIR"
        )
    defaults = LIMITS[precision]
    limits = Limits(
        defaults.cosine if min_cosine is None else min_cosine,
        defaults.agreement if min_agreement is None else min_agreement,
    )
    return Lowering(precision, limits, None if calibration is None else load_calibration(calibration, steps))


def _replace(graph: Path, model: ir.Model) -> None:
    """Replace a graph by `model`; its data file is replaced last, because `model` may still read from it."""
    with tempfile.TemporaryDirectory(dir=graph.parent) as folder:
        save_graph(model, Path(folder) / graph.name)
        for old in graph.parent.glob(f"{graph.name}*"):
            old.unlink()
        for new in Path(folder).iterdir():
            new.replace(graph.parent / new.name)
