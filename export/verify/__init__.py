"""Verification: the network's logits in float64, the parity of graphs with them, and checks of what was written."""
