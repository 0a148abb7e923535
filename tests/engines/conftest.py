"""Fixtures of fake libraries are those of `tests.engines.fakes`."""

from tests.engines.fakes import fake_gpu as fake_gpu
