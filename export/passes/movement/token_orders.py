"""Assignment of token orders: row-wise nodes process [B, T, C] in the chosen order."""

from itertools import pairwise

import numpy as np
import onnx_ir as ir

from export.passes.movement.compose import TO_BE_COMPOSED
from export.passes.movement.orders import choose_orders
from export.passes.movement.regions import Member, Regions, find_regions
from export.passes.movement.row_wise import lay_out
from export.passes.values import Array, Sizes, add_constant, add_node, name_of, shape_of


class AssignTokenOrders(ir.passes.InPlacePass):
    """Store the rows of tensors in the order that moves the least data.

    1. Row-wise nodes (element-wise operators, norms over the last axis, products with constants) process [B, T, C] in
       the row order that `export.passes.movement.orders` chooses; constants that differ by row are permuted.
    2. A Gather permutes the rows where they enter a region or change order. Other readers get the traced shape and
       order back. `ComposeMovement` then merges these nodes with the adjacent chains.
    3. Regions in which no order is cheaper than the traced one stay unchanged.

    Args:
        batch: the distinctive batch size that the graph was traced with; None if the graph keeps its batch size.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__()
        self.batch = batch

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
        self._indices: dict[bytes, ir.Value] = {}
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
        following = self._next[node]
        traced = self._reshape(self._gather(value, np.argsort(order)[member.order], following), sizes, following)
        for use in readers:
            use.node.replace_input_with(use.idx, traced)

    def _in_order(self, member: Member, order: Array, before: ir.Node) -> ir.Value:
        """Return a member as [B, T, C] in an order."""
        key = (member, order.tobytes())
        if key not in self._stored:
            own = self.orders[member]
            if member.node is None and (member, own.tobytes()) not in self._stored:
                rows = self._reshape(member.value, self._shape(member), before)
                self._stored[member, own.tobytes()] = self._gather(rows, np.argsort(member.order)[own], before)
            if key not in self._stored:
                self._stored[key] = self._gather(self._stored[member, own.tobytes()], np.argsort(own)[order], before)
        return self._stored[key]

    def _shape(self, member: Member) -> tuple[int, int, int]:
        return self.regions.images, member.region.rows, member.channels

    def _gather(self, value: ir.Value, order: Array, before: ir.Node | None) -> ir.Value:
        if np.array_equal(order, np.arange(len(order))):
            return value
        places = np.ascontiguousarray(order, np.int64)
        index = self._indices.get(places.tobytes())
        if index is None:
            index = self._indices[places.tobytes()] = add_constant(self.model, places, f"{name_of(value)}.order")
        return self._insert("Gather", [value, index], shape_of(value), before)

    def _reshape(self, value: ir.Value, sizes: Sizes, before: ir.Node | None) -> ir.Value:
        if shape_of(value) == sizes:
            return value
        shape = add_constant(self.model, np.asarray(sizes, np.int64), f"{name_of(value)}.shape")
        return self._insert("Reshape", [value, shape], sizes, before)

    @staticmethod
    def _insert(operator: str, inputs: list[ir.Value], sizes: Sizes, before: ir.Node | None) -> ir.Value:
        assert before is not None, "a row-wise node does not produce a graph output, so another node follows"
        made = add_node(before, operator, inputs, sizes, {"axis": 1} if operator == "Gather" else {})
        made.meta[TO_BE_COMPOSED] = True
        return made
