"""Data movement: chains of operators that only move data, as one map each, and what is cheapest for that map."""

from export.passes.movement.compose import ComposeMovement, Rewritten
from export.passes.movement.token_orders import AssignTokenOrders

__all__ = ["AssignTokenOrders", "ComposeMovement", "Rewritten"]
