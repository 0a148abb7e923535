"""Conversion of an artifact's graph to half precision, checked on the artifact's golden images.

The original network is not available, but the golden file contains its float64 logits.
"""

from dataclasses import dataclass

import numpy as np
import torch

from artifact import Artifact, Golden, Graph, Parity, Precision, Staging, read_golden
from export.precision.lower import prepare_lowering
from export.process.errors import ExportError
from export.tracing.pixels import Normalisation
from export.verify.golden import limits
from export.verify.reference import Reference


@dataclass(frozen=True)
class Lowered:
    """Facts of the graph in another precision, for the manifest."""

    graph: Graph
    parity: Parity
    golden: Golden


def lower(artifact: Artifact, precision: Precision, min_cosine: float | None, staging: Staging) -> Lowered:
    """Convert the staged float32 graph to half precision, and check its parity.

    Raises:
        ExportError: the artifact has no golden file, or a weight overflows.
        ParityError: the logits differ too much from the network's.
    """
    manifest = artifact.manifest
    reference = golden_reference(artifact)
    lowering = prepare_lowering(precision, None, manifest.preprocess, min_cosine, None)
    assert lowering is not None, "the precision is not float32"
    lowering.check_task(manifest.task)
    takes_pixels = manifest.input.dtype == "uint8"
    graph = lowering.rewrite(staging.graph, reference, takes_pixels=takes_pixels)
    parity = lowering.check(staging.graph, reference, manifest.parity, takes_pixels=takes_pixels)
    assert manifest.golden is not None, "`golden_reference` has read it"
    return Lowered(
        graph.model_copy(update={"operators": manifest.graph.operators}),
        parity,
        manifest.golden.model_copy(update={"limits": limits(parity, precision)}),
    )


def golden_reference(artifact: Artifact) -> Reference:
    """Return the golden images in batches that the graph accepts, with the network's logits.

    Raises:
        ExportError: the artifact has no golden file.
    """
    manifest = artifact.manifest
    golden = read_golden(artifact)
    if golden is None:
        raise ExportError(
            f"{artifact.path} has no golden file, so its graph cannot be checked in another precision; export it "
            f"again, or use --precision {manifest.precision}"
        )
    batch = manifest.input.batch
    chunks = golden.batches(min(max(len(golden), batch.min), batch.max))
    pixels = torch.from_numpy(np.frombuffer(golden.pixels, np.uint8).reshape(golden.shape).copy())
    logits = np.array(golden.logits)
    reference = Reference(
        pixels=tuple(pixels[chunk] for chunk in chunks),
        normalisation=Normalisation(manifest.preprocess.mean, manifest.preprocess.std),
        logits=np.concatenate([logits[chunk] for chunk in chunks]),
        made_by=manifest.parity.reference,
    )
    return reference.for_task(manifest.task, manifest.output.activation)
