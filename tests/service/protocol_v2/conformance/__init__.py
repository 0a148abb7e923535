"""Comparison of Triton and posbake: requests, the form of a response, and accepted differences."""
