"""Predictions and accuracy over files, without HTTP: `python -m service.offline`."""
