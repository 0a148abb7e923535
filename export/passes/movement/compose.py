"""Replacement of chains of data-movement operators by one or a few operators."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from export.passes.movement.chains import Chains, Origin, ends_of, find_chains, nodes_of
from export.passes.movement.digits import DeclinedError
from export.passes.movement.emit import Emitter
from export.passes.movement.index_map import IndexMap
from export.passes.movement.operators import sources_of
from export.passes.movement.plans import plans_of
from export.passes.movement.sharing import choose, cost_together
from export.passes.movement.steps import (
    NODE,
    VIEW,
    Plan,
    Transpose,
    copy_of_part,
    cost_of,
    describe,
    is_swap,
)
from export.passes.movement.steps import Gather as GatherStep
from export.passes.operators import axis_of, order_of
from export.passes.sweep import GraphPass
from export.passes.values import scope_of, shape_of

TO_BE_COMPOSED = "posbake.to_be_composed"
"""Metadata key of values inserted by `AssignTokenOrders`; their chains are always rewritten."""


@dataclass(frozen=True)
class Rewritten:
    """Result for the chains that start at one tensor.

    Attributes:
        module: path of the module of the first node.
        before: operators of the chains, in order.
        after: operators of the plan for the end of each chain.
        reason: why the chains were not rewritten; "" if they were.
    """

    module: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    reason: str = ""


class ComposeMovement(GraphPass):
    """Replace chains of Reshape, Transpose, Slice, Gather and similar operators by the cheapest equivalent plan.

    1. A chain leads from its source to each tensor that another node reads. Intermediate tensors are not computed
       unless they are read elsewhere.
    2. Plans for all chains from one tensor are chosen together, so that common steps are shared.
    3. Chains stay unchanged if no plan is cheaper (costs: `export.passes.movement.steps`).
    4. A chain ends before a node that joins several tensors, produces a graph output, selects images by index, or has
       a result for which no plan is known.
    5. Shapes must be static, so the pass runs before the batch becomes dynamic.

    Attributes:
        report: the result for each chain, after a call.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__(batch)
        self.report: list[Rewritten] = []
        self._chosen: dict[tuple[object, ...], list[Plan]] = {}  # the blocks of a network have equal chains

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite the chains of a graph."""
        chains = find_chains(model, self.batch)
        self._decline_nodes_without_plan(chains)
        self.report = [Rewritten("", (node.op_type,), (), reason) for node, reason in chains.declined.items()]
        emitter, modified = Emitter(model), False
        for source, ends in ends_of(chains).items():
            modified |= self._rewrite(emitter, source, ends, chains)
        return ir.passes.PassResult(model, modified)

    def _decline_nodes_without_plan(self, chains: Chains) -> None:
        """Decline nodes for whose result no plan is known; chains then end at the inputs of such a node."""
        waiting = [value for ends in ends_of(chains).values() for value in ends]
        while waiting:
            value = waiting.pop()
            origin, node = chains.origins.get(value), value.producer()
            if origin is None or node is None:
                continue
            try:
                plans_of(origin.map, shape_of(origin.source))
            except DeclinedError as error:
                chains.decline(node, str(error))
                waiting += [read for read in sources_of(node) if read in chains.origins]

    def _rewrite(self, emitter: Emitter, source: ir.Value, ends: list[ir.Value], chains: Chains) -> bool:
        origins = [chains.origins[value] for value in ends]
        nodes = [node for node in nodes_of(origins) if node not in chains.declined]
        shape = shape_of(source)
        before = tuple(node.op_type for node in nodes)
        module = scope_of(nodes[0])
        multiplied = [_is_read_transposed(value, chains.origins[value].map) for value in ends]
        key = (shape, *(origin.map.key for origin in origins), *multiplied)
        plans = self._chosen.get(key) or choose([origin.map for origin in origins], shape, multiplied)
        self._chosen[key] = plans
        after = tuple(describe(plan) for plan in plans)
        images = self.batch or 1
        old_cost = sum(cost_of_node(node, images) for node in nodes)
        new_cost = cost_together(plans, shape, images, multiplied)
        required = any(TO_BE_COMPOSED in node.outputs[0].meta for node in nodes)
        if not required and new_cost > old_cost - VIEW / 2:  # smaller differences are rounding
            self.report.append(Rewritten(module, before, after, "no cheaper plan"))
            return False
        self.report.append(Rewritten(module, before, after))
        replace_ends(emitter, source, list(zip(ends, plans, strict=True)), origins)
        return True


def _is_multiplied(value: ir.Value) -> bool:
    return all(use.node.op_type == "MatMul" for use in value.uses())


def _is_read_transposed(value: ir.Value, one: IndexMap) -> bool:
    """Return whether only MatMul reads a tensor whose last axis is not that of its source, as in transposed keys."""
    inner = one.normalised().axes[-1:]
    return _is_multiplied(value) and bool(inner and inner[0]) and one.normalised().strides.get(inner[0][-1]) != 1


def replace_ends(emitter: Emitter, source: ir.Value, made: list[tuple[ir.Value, Plan]], origins: list[Origin]) -> None:
    """Replace the ends of chains by the results of plans, and remove nodes that are no longer read."""
    emitter.announce(source, (plan for _, plan in made))
    for (value, plan), origin in zip(made, origins, strict=True):
        value.replace_all_uses_with(emitter.emit(source, plan, origin.nodes[-1]))
    for node in reversed(nodes_of(origins)):
        if node.graph is not None and not any(output.uses() for output in node.outputs):
            node.graph.remove(node, safe=True)


def cost_of_node(node: ir.Node, images: int) -> float:
    """Return the cost of a data-movement node, in nanoseconds per image."""
    shape, sizes = shape_of(node.inputs[0]), [shape_of(output) for output in node.outputs]
    made = sum(map(prod, sizes)) / images
    match node.op_type:
        case "Transpose":
            step = Transpose(tuple(order_of(node, len(shape))))
            fused = is_swap((step,)) and _is_multiplied(node.outputs[0])
            return NODE if fused else cost_of(step, shape, images)
        case "Gather":
            axis = axis_of(node, len(shape))
            return cost_of(GatherStep(axis, shape_of(node.inputs[1]), b""), shape, images)
        case "Slice" | "Split" | "Concat":
            changed = [a for a in range(len(shape)) if shape[a] != sizes[0][a]] or [0]
            run = min(prod(size[changed[-1] :]) for size in (sizes if node.op_type != "Concat" else [shape]))
            return NODE + made * copy_of_part(run)
        case _:
            return VIEW
