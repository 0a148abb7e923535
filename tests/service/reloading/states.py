"""Served and refused versions of an app, in a form for comparisons."""

import logging

import pytest
from starlette.datastructures import State

from tests.service.scripted import ScriptedBackend

Scripted = type[ScriptedBackend]


def served(state: State) -> list[str]:
    return [str(servable.key) for servable in state.serving.catalogue.servables()]


def refusals(state: State) -> dict[str, str]:
    return {refused.name: refused.reason for refused in state.serving.catalogue.refused}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
