"""Data movement: each chain of data-movement operators becomes one index map, then the cheapest plan for that map."""

from export.passes.movement.compose import ComposeMovement, Rewritten
from export.passes.movement.token_orders import AssignTokenOrders

__all__ = ["AssignTokenOrders", "ComposeMovement", "Rewritten"]
