"""Task of a network, and its final activation.

The task is determined by, in this order: `--task`, the source's declaration (transformers' `problem_type`), a final
sigmoid or softmax, a single output. Contradictions are errors, because softmax over independent classes looks
plausible.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from artifact import Activation, Task
from export.process.errors import ExportError

_SIGMOIDS = frozenset({"Sigmoid", "HardSigmoid"})
_CHOOSING = frozenset({"Identity", "Cast", "Clip", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather"})
"""Operators whose result has only numbers of their first input, or such as are nearer to 0.5."""

_SUM_TOLERANCE = 1e-4
"""Of rows that a softmax made: float32 keeps 7 digits, and thousands of classes are added."""


def final_activation(model: ir.Model, logits: NDArray[Any]) -> Activation:
    """Return the final activation of a network.

    A softmax is detected by its outputs, which are not negative and add up to 1 for each image.

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
            f"--task is {asked}, the network's configuration says {declared} (problem_type); leave out --task, or "
            "correct the configuration"
        )
    task = asked or declared or _implied(activation, outputs)
    source = "--task is" if asked is not None else "the network's configuration (problem_type) says"
    if activation == "sigmoid" and task == "single-label":
        raise ExportError(
            f"{source} {task}, but the network ends in a sigmoid, whose probabilities do not exclude each other; use "
            "--task multi-label, or remove the sigmoid from the network"
        )
    if activation == "softmax" and task != "single-label":
        raise ExportError(
            f"{source} {task}, but the network ends in a softmax, whose probabilities exclude each other; use "
            "--task single-label, or remove the softmax from the network"
        )
    if task == "single-label" and outputs == 1:
        raise ExportError(
            f"{source} {task}, but the network has one output, whose probability would be 1 for every image; use "
            "--task regression, or --task multi-label where it is the logit of one class"
        )
    return task


def _implied(activation: Activation, outputs: int) -> Task:
    if activation == "sigmoid":
        return "multi-label"
    return "regression" if outputs == 1 else "single-label"


def _is_sigmoid(value: ir.Value) -> bool:
    """Return whether all numbers of a value come from a sigmoid."""
    node = value.producer()
    if node is None:
        return False
    if node.op_type in _SIGMOIDS:
        return True
    if node.op_type == "Concat":
        return all(part is not None and _is_sigmoid(part) for part in node.inputs)
    first = node.inputs[0] if node.inputs else None
    return node.op_type in _CHOOSING and first is not None and _is_sigmoid(first)
