"""Engines of the digits variants in int8 and a half precision, and of some in all precisions, by TensorRT-RTX."""

from pathlib import Path

import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from artifact import read_artifact
from engines import summarise
from export.engine.lowering import golden_reference
from export.precision.half import HALVES, ToHalf
from export.precision.int8 import quantize
from export.precision.part_transposes import PartTransposes
from export.verify.parity import Limits
from export.write.saving import save_graph
from tests.conftest import VARIANTS
from tests.engines.rtx import build, rtx_or_skip

pytestmark = [pytest.mark.rtx, pytest.mark.slow]

ON_VALUES = {"shaw-kv", "irpe-product-contextual-qkv"}
"""Encodings that act on values; their products between softmax and v prevent fused attention."""

IN_ALL = {"learned", "swin-log-cpb", "irpe-product-contextual-qkv"}
"""Variants built in every precision. Of the others, one half is built in fp16 and one in bf16, which have the same
nodes, and none in float32, because an int8 graph has all but its linear layers in float32."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_built_in_lower_precisions(variant: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    rtx_or_skip()
    repository: Path = request.getfixturevalue("digits_repository")  # after the skip, because it exports
    artifact = read_artifact(repository / "digits" / variant / "1")
    engines = {"fp32": build(artifact.graph)} if variant in IN_ALL else {}
    halves = list(HALVES) if variant in IN_ALL else [list(HALVES)[VARIANTS.index(variant) % 2]]
    for precision in halves:
        model = ir.load(artifact.graph)
        ToHalf(HALVES[precision])(model)
        PartTransposes()(model)
        common.DeduplicateHashedInitializersPass(size_limit=2**40)(model)
        save_graph(model, tmp_path / f"{precision}.onnx")
        engines[precision] = build(tmp_path / f"{precision}.onnx")
    model, _ = quantize(ir.load(artifact.graph), golden_reference(artifact), Limits(-1, 0), takes_pixels=True)
    save_graph(model, tmp_path / "int8.onnx")
    engines["int8"] = build(tmp_path / "int8.onnx")
    found = {precision: summarise(engine.layers) for precision, engine in engines.items()}
    for precision in halves:
        most = max(found[precision].precisions, key=found[precision].precisions.__getitem__)
        assert most == precision, found[precision]
        assert found[precision].attention == (0 if variant in ON_VALUES else artifact.manifest.graph.ops["Softmax"])
    assert found["int8"].precisions.get("int8", 0) > 0
    if variant in IN_ALL:
        assert found["fp16"].constant_bytes < 0.6 * found["fp32"].constant_bytes
        assert found["fp32"].precisions.keys() <= {"", "fp32"}, found["fp32"]
