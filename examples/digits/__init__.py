"""Digits model: data set, training and export of every variant, and sample images."""
