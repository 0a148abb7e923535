"""Verification: float64 reference, parity of graphs, golden file, and checks of written graphs."""
