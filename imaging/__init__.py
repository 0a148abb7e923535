"""From the bytes of an image file to the network's input, once, for service, calibration, evaluation and tests.

Pillow, NumPy and the resizer; no web framework, no torch. Limits and the memory budget are arguments.
"""
