"""Data movement: chains of operators that only move data, as one map each, and what is cheapest for that map."""

from export.passes.movement.compose import ComposeMovement, Rewritten

__all__ = ["ComposeMovement", "Rewritten"]
