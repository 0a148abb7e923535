"""Tables of torch that are built once for all exports of a process."""

import pytest
import torch
from torch._export import utils
from torch.onnx._internal.exporter._registration import ONNXRegistry

from export.tracing import tables
from export.tracing.tables import tables_built_once


class Owner:
    @classmethod
    def name(cls) -> str:
        return cls.__name__


def test_functions_are_replaced_inside_the_context_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_replacements", lambda: [(Owner, "name", staticmethod(lambda: "replaced"))])
    with tables_built_once():
        with tables_built_once():
            assert Owner.name() == "replaced"
        assert Owner.name() == "replaced"
    assert Owner.name() == "Owner"
    with pytest.raises(ZeroDivisionError), tables_built_once():
        raise ZeroDivisionError
    assert Owner.name() == "Owner"


def test_a_registry_is_built_once_and_functions_of_one_export_are_not_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tables_built_once():
        first = ONNXRegistry.from_torchlib(opset_version=20)
        count = {target: len(functions) for target, functions in first.functions.items()}
        monkeypatch.setattr(ONNXRegistry, "_register", lambda *_: pytest.fail("built again"))
        next(iter(first.functions.values())).clear()
        first.functions.popitem()
        second = ONNXRegistry.from_torchlib(opset_version=20)
    assert {target: len(functions) for target, functions in second.functions.items()} == count
    assert first.opset_version == second.opset_version == 20


def test_operators_are_looked_up_again_after_one_was_registered() -> None:
    calls: list[int] = []
    look_up = tables._once_for_each_list(lambda: calls.append(1))
    look_up()
    look_up()
    assert len(calls) == 1
    with torch.library._scoped_library("posbake_tables", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CompositeImplicitAutograd")
        look_up()
    assert len(calls) == 2


def test_nothing_is_replaced_in_a_version_of_torch_without_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(utils, "_materialize_cpp_cia_ops")
    assert tables._replacements.__wrapped__() == ()
