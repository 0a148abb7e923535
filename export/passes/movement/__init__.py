"""Data movement: each chain of operators that only move data as one index map, and the cheapest plan for that map."""

from export.passes.movement.compose import ComposeMovement, Rewritten
from export.passes.movement.token_orders import AssignTokenOrders

__all__ = ["AssignTokenOrders", "ComposeMovement", "Rewritten"]
