"""Handwritten digits: the data, the training of every variant, and sample pictures."""
