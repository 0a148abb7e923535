"""Image decoding and preprocessing, from the bytes of a file to the network's input.

Service, calibration, evaluation and tests share this package. It depends on Pillow, NumPy and the resizer, not on a web
framework or torch. Limits and the memory budget are arguments.
"""
