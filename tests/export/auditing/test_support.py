"""The file of TensorRT's support table: source, dates, and operators known to ONNX."""

import json
from datetime import date
from importlib.resources import files

import onnx
import pytest
from pydantic import ValidationError

from export.auditing import load_support
from export.auditing.support import Support, version_order

TEXT = files("export.auditing").joinpath("tensorrt_support.json").read_text()
BEFORE_ONNX = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}  # experimental once; the table still lists them
TYPES = {*("FP32", "FP16", "BF16", "FP8", "FP4", "INT64", "INT32", "INT8", "INT4", "UINT8", "BOOL")}


def test_the_file_names_its_source_its_version_and_its_dates() -> None:
    support = load_support()
    assert str(support.source).startswith("https://github.com/onnx/onnx-tensorrt/")
    assert support.tensorrt.startswith("10.")  # the major version that the extra `gpu` requires
    assert date(2026, 1, 1) < support.published <= support.retrieved <= date.today()


def test_every_operator_is_known_to_onnx_and_every_type_to_tensorrt() -> None:
    support = load_support()
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert set(support.operators) - known == BEFORE_ONNX
    assert {name for row in support.operators.values() for name in row.types} == TYPES
    last = support.opset_max[support.tensorrt]
    schemas = (schema for schema in onnx.defs.get_all_schemas() if schema.domain == "" and schema.since_version <= last)
    assert {schema.name for schema in schemas} - set(support.operators) == {
        "Swish"
    }  # of opset 24, and not in the table


@pytest.mark.parametrize("name", [name for name, row in load_support().operators.items() if row.rules])
def test_every_rule_names_attributes_inputs_and_outputs_that_the_operator_has(name: str) -> None:
    schema = onnx.defs.get_schema(name, load_support().opset_max[load_support().tensorrt])
    for rule in load_support().operators[name].rules:
        assert not rule.attribute or rule.attribute in schema.attributes
        assert max(rule.outputs, default=-1) < len(schema.outputs)
        assert max(rule.inputs, default=-1) < len(schema.inputs)


def test_versions_sort_as_numbers() -> None:
    assert sorted(["10.14", "10.9", "9.2"], key=version_order) == ["9.2", "10.9", "10.14"]


@pytest.mark.parametrize(
    "change",
    [
        {"source": "a page"},
        {"retrieved": "last week"},
        {"tensorrt": "10.14"},  # its last opset is not given
        {"operators": {"Relu": {"supported": True}}},
        {"operators": {"Relu": {"supported": False, "types": ["FP32"]}}},
        {"operators": {"Relu": {"supported": True, "types": ["FP32"], "rules": [{"rule": "be-nice"}]}}},
        {
            "operators": {
                "Relu": {"supported": True, "types": ["FP32"], "rules": [{"rule": "input-rank", "inputs": [0]}]}
            }
        },
    ],
)
def test_an_invalid_file_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Support.model_validate_json(json.dumps(json.loads(TEXT) | change))
