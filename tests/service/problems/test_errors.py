"""Tree of errors: the documented one equals that of the classes."""

import inspect
import re
from types import ModuleType

import pytest

from service.problems import client_errors, errors, server_errors
from service.problems.errors import ProblemError, ServiceError

MODULES = (errors, client_errors, server_errors)


def defined_in(module: ModuleType) -> dict[str, type[ServiceError]]:
    return {
        name: found
        for name, found in vars(module).items()
        if inspect.isclass(found) and issubclass(found, ServiceError) and found.__module__ == module.__name__
    }


def documented(tree: str) -> dict[str, str]:
    """Return the parent of every error in a drawn tree."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in tree.splitlines():
        if found := re.match(r"^([│├└─ ]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            parents[found[2]] = above[depth - 1] if depth else "Exception"
    return parents


def test_the_documented_tree_is_that_of_the_classes() -> None:
    assert errors.__doc__ is not None
    found = {name: cls.__bases__[0].__name__ for module in MODULES for name, cls in defined_in(module).items()}
    assert documented(errors.__doc__) == found


def test_a_drawn_tree_is_parsed() -> None:
    tree = "AError\n├── BError      of something\n│   └── CError\n└── DError\n"
    assert documented(tree) == {"AError": "Exception", "BError": "AError", "CError": "BError", "DError": "AError"}


@pytest.mark.parametrize(("module", "statuses"), [(client_errors, range(400, 500)), (server_errors, range(500, 600))])
def test_errors_are_in_the_module_of_their_status(module: ModuleType, statuses: range) -> None:
    for found in defined_in(module).values():
        assert issubclass(found, ProblemError)
        assert getattr(found, "status", statuses.start) in statuses  # a RoutingError has the status of the HTTP error


def test_every_error_has_a_unique_name() -> None:
    classes = [found for module in MODULES for found in defined_in(module).values()]
    names = [name for found in classes if (name := vars(found).get("name")) is not None]
    assert len(names) == len(set(names)) > 20
