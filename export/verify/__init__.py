"""Verification: float64 reference, parity of graphs, and checks of written files."""
