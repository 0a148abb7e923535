"""Task of a network, and its final activation.

The task is determined by, in this order: `--task`, the source's declaration (transformers' `problem_type`), a final
sigmoid or softmax, a single output. Contradictions are errors, because the results of a wrong task look plausible.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from artifact import Activation, Task
from export.process.errors import ExportError

_SIGMOIDS = frozenset({"Sigmoid", "HardSigmoid"})
_TRANSPARENT = frozenset({"Identity", "Cast", "Clip", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather"})
"""Operators whose output contains only elements of the first input, possibly clipped."""

_SUM_TOLERANCE = 1e-4
"""Tolerance of the sum of a softmax over thousands of classes in float32."""


def final_activation(model: ir.Model, logits: NDArray[Any]) -> Activation:
    """Return the final activation of a network.

    A softmax is detected by its outputs, which are non-negative and sum to 1 for each image.

    Args:
        model: the graph, in float32.
        logits: logits of the network, [images, classes].
    """
    if logits.shape[1] > 1 and (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, rtol=0, atol=_SUM_TOLERANCE):
        return "softmax"
    return "sigmoid" if _is_sigmoid(model.graph.outputs[0]) else "none"


def decide_task(asked: Task | None, declared: Task | None, activation: Activation, outputs: int) -> Task:
    """Return the task.

    Args:
        asked: value of `--task`.
        declared: task declared by the source.
        activation: final activation.
        outputs: number of outputs.

    Raises:
        ExportError: the arguments contradict each other.
    """
    if asked is not None and declared is not None and asked != declared:
        raise ExportError(
            f"--task is {asked}, but problem_type in the network's configuration is {declared}; omit --task, or "
            "correct the configuration"
        )
    task = asked or declared or _implied(activation, outputs)
    source = "--task is" if asked is not None else "problem_type in the network's configuration is"
    if activation == "sigmoid" and task == "single-label":
        raise ExportError(
            f"{source} {task}, but the network ends in a sigmoid, whose classes are not mutually exclusive; use "
            "--task multi-label, or remove the sigmoid from the network"
        )
    if activation == "softmax" and task != "single-label":
        raise ExportError(
            f"{source} {task}, but the network ends in a softmax, whose classes are mutually exclusive; use "
            "--task single-label, or remove the softmax from the network"
        )
    if task == "single-label" and outputs == 1:
        raise ExportError(
            f"{source} {task}, but the network has one output, whose probability would always be 1; use "
            "--task regression, or --task multi-label if it is the logit of one class"
        )
    return task


def _implied(activation: Activation, outputs: int) -> Task:
    if activation == "sigmoid":
        return "multi-label"
    return "regression" if outputs == 1 else "single-label"


def _is_sigmoid(value: ir.Value) -> bool:
    """Return whether all elements of a value are outputs of a sigmoid."""
    node = value.producer()
    if node is None:
        return False
    if node.op_type in _SIGMOIDS:
        return True
    if node.op_type == "Concat":
        return all(part is not None and _is_sigmoid(part) for part in node.inputs)
    first = node.inputs[0] if node.inputs else None
    return node.op_type in _TRANSPARENT and first is not None and _is_sigmoid(first)
