"""Fixtures of the engines' tests, from `tests.engines.fakes`."""

from tests.engines.fakes import fake_gpu as fake_gpu
