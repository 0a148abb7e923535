"""Tracing of a network by `torch.export` to a program of ATen operators with static shapes.

Without dynamic dimensions, `len(x)`, `int(x.shape[0])` and views of batch × heads work; `export.passes.dynamic_batch`
later replaces the batch size.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from export.process.errors import ExportError, first_line
from export.tracing.program import rewrite_program
from export.tracing.program.nodes import without_wrappers
from export.tracing.program.refusals import check_sizes
from models.sources.twin import share_tensors


def trace(network: nn.Module, example: Tensor) -> ExportedProgram:
    """Return the program of `network` for a batch like `example`, after the rewrites of `export.tracing.program`.

    The network is not modified: attributes that it sets in forward (cached biases in LeViT) are discarded.

    Args:
        network: network in eval mode.
        example: a batch of images.

    Raises:
        ExportError: torch.export cannot trace the network; the message names the module that failed.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(), _quietly(), _without_stack_traces():
            # Attributes are assigned to a temporary copy of the network.
            warnings.filterwarnings("ignore", "The tensor attributes? .* (was|were) assigned during export")
            program = torch.export.export(share_tensors(network), (example,), strict=False)
    except Exception as error:  # any exception of the network's code or of torch.export
        module = _failed_module(network, example)
        raise ExportError(
            f"torch.export cannot trace the network{f' in {module}' if module else ''}: "
            f"{type(error).__name__}: {first_line(error)}. Python control flow must not depend on tensors: replace "
            "`if tensor`, `.item()`, `.tolist()` and calls into other libraries by tensor operations"
        ) from error
    check_sizes(program.graph)
    return rewrite_program(program)


def _failed_module(network: nn.Module, example: Tensor) -> str:
    """Trace again, and return the path and class of the module that was running at the failure."""
    clone = share_tensors(network)
    with _running_modules(clone) as running:
        try:
            with torch.no_grad(), _quietly():
                torch.export.export(clone, (example,), strict=False)
        except Exception:  # noqa: BLE001 -- the same error as before; only the module is of interest
            return running[-1] if running else ""
    return ""


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress tracebacks and partial graphs that torch prints in addition to the exception."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextmanager
def _without_stack_traces() -> Iterator[None]:
    """Do not record the line of Python that calls each operator, which nothing reads: 4 % of an export's time.

    Older versions of torch, such as 2.11, ignore the setting.
    """
    before = getattr(fx.config, "do_not_emit_stack_traces", False)
    fx.config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        fx.config.do_not_emit_stack_traces = before


@contextmanager
def _running_modules(network: nn.Module) -> Iterator[list[str]]:
    """Yield a list of the modules whose forward is running, innermost last."""
    running: list[str] = []
    handles = []
    for path, module in network.named_modules():
        name = f"{without_wrappers(path)} ({type(module).__name__})".strip()
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        handles.append(module.register_forward_hook(lambda *_: running.pop() and None))
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()
