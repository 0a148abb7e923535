"""Assignment of token orders: row-wise nodes process [B, T, C] in the chosen order."""

from itertools import pairwise

import numpy as np
import onnx_ir as ir

from export.passes.movement.compose import TO_BE_COMPOSED
from export.passes.movement.emit import Emitter
from export.passes.movement.orders import choose_orders, taken
from export.passes.movement.regions import Member, Regions, find_regions
from export.passes.movement.row_wise import lay_out
from export.passes.movement.steps import Reshape, tidied
from export.passes.sweep import GraphPass
from export.passes.values import Array, shape_of


class AssignTokenOrders(GraphPass):
    """Store the rows of tensors in the order that moves the least data.

    1. Row-wise nodes (element-wise operators, norms over the last axis, products with constants) process [B, T, C] in
       the row order that `export.passes.movement.orders` chooses; constants that differ by row are permuted.
    2. A Gather permutes the rows where they enter a region or change order. Other readers get the traced shape and
       order back. `ComposeMovement` then merges these nodes with the adjacent chains.
    3. Regions in which no order is cheaper than the traced one stay unchanged.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Choose the orders, then rewrite the nodes in graph order."""
        regions = find_regions(model, self.batch)
        orders = choose_orders(regions)
        writer = _Writer(model, regions, orders)
        for event in regions.events:
            if isinstance(event, Member) and event in orders and event.node is not None:
                writer.rewrite(event, event.node)
        return ir.passes.PassResult(model, bool(orders))


class _Writer:
    """Rewriting of row-wise nodes to the chosen orders."""

    def __init__(self, model: ir.Model, regions: Regions, orders: dict[Member, Array]) -> None:
        self.model, self.regions, self.orders = model, regions, orders
        self._stored: dict[tuple[Member, bytes], ir.Value] = {}
        self._emitter = Emitter(model, mark=TO_BE_COMPOSED)
        self._next = dict(pairwise(model.graph))

    def rewrite(self, member: Member, node: ir.Node) -> None:
        """Permute a node's inputs to the order of its output, and restore the traced order for its other readers."""
        order, form, value = self.orders[member], member.form, member.value
        assert form is not None, "nodes have a form"
        for position, link in member.links.items():
            node.replace_input_with(position, self._in_order(link, order, node))
        lay_out(self.model, node, form, np.argsort(member.order)[order])
        sizes = shape_of(value)
        value.shape = ir.Shape(self._shape(member))
        self._stored[member, order.tobytes()] = value
        readers = list(value.uses())
        restored = (*taken(np.argsort(order)[member.order]), Reshape(sizes))
        traced = self._emitter.emit(value, tidied(restored, self._shape(member)), self._next[node])
        for use in readers:
            use.node.replace_input_with(use.idx, traced)

    def _in_order(self, member: Member, order: Array, before: ir.Node) -> ir.Value:
        """Return a member as [B, T, C] in an order."""
        key, own = (member, order.tobytes()), self.orders[member]
        if key not in self._stored:
            first = (member, own.tobytes())
            if member.node is None and first not in self._stored:
                rows = (Reshape(self._shape(member)), *taken(np.argsort(member.order)[own]))
                self._stored[first] = self._emitter.emit(member.value, tidied(rows, shape_of(member.value)), before)
            moved = tuple(taken(np.argsort(own)[order]))
            self._stored[key] = self._emitter.emit(self._stored[first], moved, before)
        return self._stored[key]

    def _shape(self, member: Member) -> tuple[int, int, int]:
        return self.regions.images, member.region.rows, member.channels
