"""Shortages of the machine, recognised in errors of the system, of runtimes and of child processes."""

import errno
import os

import pytest

from artifact import ManifestError
from service.problems.errors import GraphError
from service.resources.shortages import shortage


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "limit of open files"),
        (OSError(errno.ENFILE, os.strerror(errno.ENFILE)), "limit of open files"),
        (OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "limit of processes"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "free disk space"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "free disk space"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "free memory"),
        (MemoryError(), "free memory"),
        (RuntimeError("can't start new thread"), "limit of processes"),
        (RuntimeError("std::bad_alloc"), "free memory"),
        (ManifestError("a/b/1: manifest.json cannot be opened: Too many open files"), "limit of open files"),
        (GraphError("its test run by openvino in a child process was ended by SIGKILL; export it"), "free memory"),
    ],
)
def test_a_shortage_is_named_with_its_remedy(error: Exception, remedy: str) -> None:
    assert remedy in (shortage(error) or "")


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, os.strerror(errno.EACCES)), RuntimeError("the script says so"), ValueError()]
)
def test_other_errors_are_no_shortage(error: Exception) -> None:
    assert shortage(error) is None
