"""Signals that end the service."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from service.resources.exit import handle_stop_signals

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stop(_number: int, _frame: Any) -> None:  # noqa: ANN401 -- not used
    """Do nothing."""


def test_sigterm_ctrl_c_and_a_closed_terminal_have_the_handler() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    handle_stop_signals(stop)
    assert {signal.getsignal(number) for number in STOPPING} == {stop}


def test_a_server_started_with_nohup_continues_when_its_terminal_is_closed() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handle_stop_signals(stop)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is stop
