"""The steps of an export in another precision than float32, each after that of the float32 export it builds on."""

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
from export.precision.half import HALVES, ToHalf
from export.precision.int8 import quantize
from export.precision.part_transposes import PartTransposes
from export.process.errors import ExportError
from export.verify.parity import LIMITS, Limits, check_lowered
from export.verify.reference import Reference, reference_on
from export.write.describe import describe_graph
from export.write.saving import save_graph

_CHUNK = 8
"""Images run at once."""


@dataclass(frozen=True)
class Lowering:
    """Requested precision.

    Attributes:
        precision: fp16, bf16 or int8.
        limits: minimum cosine and agreement of the result.
        images: images for calibration and comparison; None compares on synthetic images.
    """

    precision: str
    limits: Limits
    images: CalibrationImages | None

    def reference(self, network: nn.Module, random: Reference, batch: Batch) -> Reference:
        """Return the network's logits of the images; `random`, which is there already, if none were given.

        What does not fill the smallest batch that the graph accepts is left out.

        Raises:
            ExportError: there are fewer images than the smallest batch.
        """
        if self.images is None:
            return random
        size = min(max(batch.min, _CHUNK), batch.max)
        images = torch.from_numpy(self.images.pixels)
        chunks = (images[start : start + size] for start in range(0, len(images), size))
        pixels = tuple(chunk for chunk in chunks if len(chunk) >= batch.min)
        if not pixels:
            raise ExportError(
                f"{len(self.images.pixels)} calibration images do not fill a batch of {batch.min}; "
                "give more, or a smaller --batch"
            )
        return reference_on(network, pixels, random.normalisation)

    def rewrite(self, graph: Path, reference: Reference, *, takes_pixels: bool) -> Graph:
        """Replace the float32 graph by one in this precision, and return its description for the manifest.

        Raises:
            ExportError: a weight does not fit, the graph cannot be quantized, or the result is not valid ONNX.
        """
        model = ir.load(graph)
        if self.precision in HALVES:
            to_half = ToHalf(HALVES[self.precision])
            to_half(model)
            PartTransposes()(model)
            common.DeduplicateHashedInitializersPass(size_limit=2**40)(model)  # equal when rounded
            facts = describe_graph(model).model_copy(update={"float32_nodes": to_half.kept})
        else:
            model, kept = quantize(model, reference, self.limits, takes_pixels=takes_pixels)
            facts = describe_graph(model).model_copy(update={"float32_nodes": kept or None})
        _replace(graph, model)
        return facts

    def check_task(self, task: Task) -> None:
        """Raise ExportError for what cosine and top-1 agreement cannot compare."""
        if task == "regression":
            raise ExportError(
                f"--precision {self.precision} is compared by the cosine and the top-1 agreement of logits, which say "
                "nothing of a regression's values; use fp32"
            )

    def check(self, graph: Path, reference: Reference, single: Parity, *, takes_pixels: bool) -> Parity:
        """Compare; see `check_lowered`. `single` is the parity of the float32 graph."""
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
    """Return what to do beyond float32; None if nothing is. Images are read here, before anything slow is begun.

    Raises:
        ExportError: int8 without images, images that cannot be used, or options that float32 has no use for.
    """
    if precision == "fp32":
        if calibration is not None or min_cosine is not None or min_agreement is not None:
            raise ExportError(
                "--calibration, --min-cosine and --min-agreement are for a --precision of fp16, bf16 or int8; "
                "fp32 is compared by its largest error"
            )
        return None
    if precision == "int8" and calibration is None:
        raise ExportError(
            "int8 needs images from which the ranges of activations are taken: name a directory of them with "
            "--calibration DIR"
        )
    defaults = LIMITS[precision]
    limits = Limits(
        defaults.cosine if min_cosine is None else min_cosine,
        defaults.agreement if min_agreement is None else min_agreement,
    )
    return Lowering(precision, limits, None if calibration is None else load_calibration(calibration, steps))


def _replace(graph: Path, model: ir.Model) -> None:
    """Write `model` in place of a graph, whose data file, if it has one, the model may still be read from."""
    with tempfile.TemporaryDirectory(dir=graph.parent) as folder:
        save_graph(model, Path(folder) / graph.name)
        for old in graph.parent.glob(f"{graph.name}*"):
            old.unlink()
        for new in Path(folder).iterdir():
            new.replace(graph.parent / new.name)
