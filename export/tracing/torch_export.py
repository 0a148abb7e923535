"""Tracing of a network by `torch.export` to a program of ATen operators with fixed sizes.

torch.export traces an example batch without dynamic dimensions, so `len(x)`, `int(x.shape[0])` and views of batch times
heads work; `export.passes.dynamic_batch` determines afterwards which numbers were the batch.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from export.process.errors import ExportError, first_line
from export.tracing.program import in_plain_operators
from export.tracing.program.nodes import without_wrappers
from export.tracing.program.refusals import check_sizes
from models.sources.twin import share_tensors


def trace(network: nn.Module, example: Tensor) -> ExportedProgram:
    """Return the program of `network` for a batch like `example`, with attention unfused and no in-place constants.

    The network is not modified: values that it caches while it runs (biases in LeViT) are discarded.

    Args:
        network: network in eval mode.
        example: a batch of images.

    Raises:
        ExportError: torch.export cannot trace the network; the message names the module in which it stopped.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(), _quietly():
            # Modules store attributes in a temporary copy.
            warnings.filterwarnings("ignore", "The tensor attributes? .* (was|were) assigned during export")
            program = torch.export.export(share_tensors(network), (example,), strict=False)
    except Exception as error:  # any exception of the network's code or of torch.export
        module = _module_that_stops(network, example)
        raise ExportError(
            f"torch.export cannot trace the network{f' in {module}' if module else ''}: "
            f"{type(error).__name__}: {first_line(error)}. Python control flow must not depend on tensors: replace "
            "`if tensor`, `.item()`, `.tolist()` and calls into other libraries by tensor operations"
        ) from error
    check_sizes(program.graph)
    return in_plain_operators(program)


def _module_that_stops(network: nn.Module, example: Tensor) -> str:
    """Trace again, and return the path and class of the module that was running when it failed."""
    clone = share_tensors(network)
    with _running_modules(clone) as running:
        try:
            with torch.no_grad(), _quietly():
                torch.export.export(clone, (example,), strict=False)
        except Exception:  # noqa: BLE001 -- raised before, and told; here only the place is wanted
            return running[-1] if running else ""
    return ""


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress torch's output of tracebacks and partial graphs, which are reported anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextmanager
def _running_modules(network: nn.Module) -> Iterator[list[str]]:
    """Maintain a list of the modules with a running forward, innermost last."""
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
