"""Pipeline of an export, one function per step: load, reference, trace, rewrite, verify, lower, write.

To limit peak memory, the network or graph of a step is released before the next step allocates another. Therefore they
are passed from step to step separately from the facts about them.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import onnx_ir as ir
import torch
from torch import nn

from artifact import (
    Activation,
    Baked,
    Constants,
    Draft,
    Graph,
    Manifest,
    Parity,
    Rewrites,
    Staging,
    Task,
    next_version,
    stage,
)
from artifact.manifest import GOLDEN_NAME
from artifact.parts.shown import CONSTANTS_FOLDER, SAMPLES_FOLDER
from export.passes.graph import rewrite_graph
from export.precision import Lowering, prepare_lowering
from export.process.memory import give_back
from export.report.baked import report_constants
from export.report.page import REPORT_NAME, Facts, render_page
from export.report.pictures import Gallery, draw_constants
from export.report.stored import store_constants
from export.request import Exported, ExportRequest, choose_labels, choose_names, read_labels
from export.tracing.graph import TracedGraph, trace_graph
from export.tracing.pixels import ArtifactInput, Normalisation
from export.verify.golden import write_golden
from export.verify.parity import TOLERANCE, UNKNOWN_TOLERANCE, check_parity
from export.verify.reference import Reference, compute_reference
from export.verify.targets import check_target, fuses_attention
from export.verify.task import decide_task, final_activation
from export.write.describe import describe_graph
from export.write.draft import make_draft
from export.write.samples import store_samples
from export.write.saving import check_graph, save_graph
from models.sources import Loaded, load_source
from models.sources.library_module import ENCODING

Step = Callable[[str], AbstractContextManager[object]]
"""Called with the name of each step; returns a context manager for its duration."""

__all__ = ["ExportRequest", "Exported", "Step", "export_onnx"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def export_onnx(request: ExportRequest, step: Step = lambda _: nullcontext()) -> Exported:
    """Export a network to an artifact. After an error the repository is unchanged.

    Args:
        request: the request.
        step: callback for the name of each step, for progress.

    Raises:
        SourceError, ExportError, ArtifactError: each names the cause and the remedy.
        OSError: the repository cannot be written.
    """
    steps = _Steps(step)
    source, network = steps.run("load", _load, request)
    with stage(request.output, source.model, source.variant, source.version) as staging:
        samples = steps.run("load", store_samples, request.samples, staging.directory / SAMPLES_FOLDER)
        references = steps.run("reference", _compute_references, source, network)
        traced = steps.run("trace", _trace, source, network)
        model, facts = steps.run("rewrite", _rewrite, source, references, network, traced)
        del network, traced
        graph, gallery, constants = steps.run("rewrite", _save, source, facts, model, staging)
        del model
        parity = steps.run("verify", _verify, source, references, facts, staging)
        if (lowering := source.lowering) is not None:
            pixels, compared = request.takes_pixels, references.compared.for_task(facts.task, facts.activation)
            lowered = steps.run(request.precision, lowering.rewrite, staging.graph, compared, takes_pixels=pixels)
            graph = lowered.model_copy(update={"operators": graph.operators})
            parity = steps.run("compare", lowering.check, staging.graph, compared, parity, takes_pixels=pixels)
        steps.run("verify", check_target, staging.graph, request.target)
        file = staging.directory / GOLDEN_NAME
        golden = steps.run("write", write_golden, references.compared, parity, request.precision, file)
        draft = make_draft(
            *(request, source.loaded, facts.task, facts.activation, graph, facts.baked, facts.rewrites),
            *(parity, golden, constants, samples),
        )
        manifest = steps.run("write", _write, source, draft, gallery, steps.seconds, staging)
    return Exported(staging.target, manifest, steps.seconds)


class _Steps:
    """Runner of steps that shows their names, records their durations, and returns freed memory to the system."""

    def __init__(self, step: Step) -> None:
        self.seconds: dict[str, float] = {}
        self._step = step

    def run(self, name: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        start = time.perf_counter()
        with self._step(name):
            result = function(*args, **kwargs)
            give_back()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return result


@dataclass(frozen=True)
class _Source:
    """Source of an export and its names. `loaded` has no network; `lowering` is None for float32."""

    request: ExportRequest
    loaded: Loaded
    labels: Sequence[str]
    lowering: Lowering | None
    model: str
    variant: str
    version: int

    @property
    def normalisation(self) -> Normalisation:
        return Normalisation(self.loaded.preprocess.mean, self.loaded.preprocess.std)


@dataclass(frozen=True)
class _References:
    """References on synthetic images, and on the images for a lower precision."""

    synthetic: Reference
    compared: Reference


@dataclass(frozen=True)
class _Facts:
    """Facts about the network and its graph; `operators` has the counts before and after partial evaluation."""

    operators: dict[str, tuple[int, int]]
    baked: tuple[Baked, ...]
    rewrites: Rewrites
    activation: Activation
    task: Task


def _load(request: ExportRequest) -> tuple[_Source, nn.Module]:
    lines = read_labels(request.labels)
    overrides = replace(request.overrides, num_classes=None if lines is None else len(lines))
    loaded = load_source(request.source, request.weights, overrides)
    labels = choose_labels(request.labels, lines, loaded)
    lowering = prepare_lowering(
        request.precision, request.calibration, loaded.preprocess, request.min_cosine, request.min_agreement
    )
    model, variant = choose_names(request, loaded)
    version = request.version or next_version(request.output, model, variant)
    known = replace(loaded, network=nn.Identity())
    return _Source(request, known, labels, lowering, model, variant, version), loaded.network


def _compute_references(source: _Source, network: nn.Module) -> _References:
    batch = source.request.batch
    synthetic = compute_reference(network, source.loaded.image_size, source.normalisation, batch)
    if source.lowering is None:
        return _References(synthetic, synthetic)
    return _References(synthetic, source.lowering.reference(network, synthetic, batch))


def _trace(source: _Source, network: nn.Module) -> TracedGraph:
    request = source.request
    whole = ArtifactInput(network, source.normalisation if request.takes_pixels else None)
    return trace_graph(whole, _example(source), request.batch, request.opset)


def _rewrite(
    source: _Source, references: _References, network: nn.Module, traced: TracedGraph
) -> tuple[ir.Model, _Facts]:
    built = rewrite_graph(traced, fuses_attention=fuses_attention(source.request.target, source.request.opset))
    activation = final_activation(built.model, references.synthetic.logits)
    task = decide_task(source.request.task, source.loaded.task, activation, source.loaded.num_classes)
    if source.lowering is not None:
        source.lowering.check_task(task)
    operators = {name: (built.traced[name], built.left[name]) for name in sorted(built.traced | built.left)}
    return built.model, _Facts(operators, report_constants(network, built.constants), built.rewrites, activation, task)


def _example(source: _Source) -> torch.Tensor:
    """Return an example input. torch treats a batch size of 1 as a constant, so it is 2 unless fixed."""
    batch, size = source.request.batch, source.loaded.image_size
    images = batch.min if batch.min == batch.max else max(batch.min, 2)
    if source.request.takes_pixels:
        return torch.zeros(images, *size, 3, dtype=torch.uint8)
    return torch.zeros(images, 3, *size)


def _save(source: _Source, facts: _Facts, model: ir.Model, staging: Staging) -> tuple[Graph, Gallery, Constants]:
    save_graph(model, staging.graph)
    graph = describe_graph(model).model_copy(update={"operators": facts.operators})
    gallery = draw_constants(model) if source.request.report else Gallery()
    constants = store_constants(model, staging.directory / CONSTANTS_FOLDER, source.loaded.image_size)
    for value in model.graph.initializers.values():
        value.const_value = None  # frees the weights: onnxscript's rewrite rules keep a reference to the last graph
    return graph, gallery, constants


def _verify(source: _Source, references: _References, facts: _Facts, staging: Staging) -> Parity:
    gc.collect()  # traced programs have reference cycles that keep the weights alive
    give_back()
    check_graph(staging.graph)
    tolerance = TOLERANCE if source.loaded.encoding != ENCODING else UNKNOWN_TOLERANCE
    reference = references.synthetic.for_task(facts.task, facts.activation)
    return check_parity(reference, staging.graph, takes_pixels=source.request.takes_pixels, tolerance=tolerance)


def _write(source: _Source, draft: Draft, gallery: Gallery, seconds: Mapping[str, float], staging: Staging) -> Manifest:
    if source.request.report:
        size = sum(file.stat().st_size for file in staging.directory.iterdir())
        page = Facts(source.model, source.variant, source.version, draft, source.labels, size, seconds, gallery)
        (staging.directory / REPORT_NAME).write_text(render_page(page), encoding="utf-8")
    return staging.commit(draft, source.labels)
