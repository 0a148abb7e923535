"""Triton and posbake compared: the requests, the form of an answer, and the differences that are kept."""
