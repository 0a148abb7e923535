"""Graphs of one operator each, in ONNX's text form, with T for the operator's data type.

A case is (inputs, outputs, body); the batch N is dynamic. The types in the table are those of the first input (the
second of Where, the third of OneHot).
"""

from typing import NamedTuple

TYPES = {
    "float": "FP32", "float16": "FP16", "bfloat16": "BF16", "int32": "INT32", "int64": "INT64", "bool": "BOOL",
    "int8": "INT8", "uint8": "UINT8",
}  # fmt: skip
"""Name of each type in ONNX and in the table; float64 has its own check."""


class Case(NamedTuple):
    """A graph of one operator."""

    inputs: str
    outputs: str
    body: str
    opset: int = 20


X, Y = "T[N,4,6] x", "T[N,4,6] y"
BOOLS, FLAT = "bool[N,4,6] y", "T[N,4] y"
IMAGE, MAPS = "T[N,3,8,8] x", "T[N,3,8,8] y"


def _alone(*operators: str) -> dict[str, Case]:
    return {operator: Case(X, Y, f"{{ y = {operator}(x) }}") for operator in operators}


def _pairs(*operators: str, outputs: str = Y) -> dict[str, Case]:
    return {operator: Case(f"{X}, T[N,4,6] z", outputs, f"{{ y = {operator}(x, z) }}") for operator in operators}


def _reductions(*operators: str) -> dict[str, Case]:
    body = "<int64[1] a = {{2}}> {{ y = {}<keepdims = 0>(x, a) }}"
    return {operator: Case(X, FLAT, body.format(operator)) for operator in operators}


CASES: dict[str, Case] = {
    **_alone("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf"),
    **_alone("Exp", "Floor", "Gelu", "Hardmax", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log"),
    **_alone("LogSoftmax", "LpNormalization", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign"),
    **_alone("Shrink", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu"),
    **_alone("Not", "BitwiseNot"),
    **_pairs("Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum", "And", "Or", "Xor"),
    **_pairs("BitwiseAnd", "BitwiseOr", "BitwiseXor"),
    **_pairs("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", outputs=BOOLS),
    **_reductions("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
    **_reductions("ReduceProd", "ReduceSum", "ReduceSumSquare"),
    "ArgMax": Case(X, "int64[N,4] y", "{ y = ArgMax<axis = 2, keepdims = 0>(x) }"),
    "ArgMin": Case(X, "int64[N,4] y", "{ y = ArgMin<axis = 2, keepdims = 0>(x) }"),
    "Attention": Case(
        "T[N,2,9,32] x, T[N,2,9,32] k, T[N,2,9,32] v", "T[N,2,9,32] y", "{ y = Attention(x, k, v) }", opset=23
    ),
    "AveragePool": Case(IMAGE, "T[N,3,4,4] y", "{ y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x) }"),
    "BatchNormalization": Case(
        f"{IMAGE}, T[3] s, T[3] b, T[3] m, T[3] v", MAPS, "{ y = BatchNormalization(x, s, b, m, v) }"
    ),
    "Cast": Case(X, "float[N,4,6] y", "{ y = Cast<to = 1>(x) }"),
    "Clip": Case(f"{X}, T low, T high", Y, "{ y = Clip(x, low, high) }"),
    "Concat": Case(f"{X}, T[N,4,6] z", "T[N,8,6] y", "{ y = Concat<axis = 1>(x, z) }"),
    "Conv": Case(f"{IMAGE}, T[5,3,2,2] w", "T[N,5,4,4] y", "{ y = Conv<strides = [2, 2]>(x, w) }"),
    "ConvTranspose": Case(f"{IMAGE}, T[3,5,2,2] w", "T[N,5,16,16] y", "{ y = ConvTranspose<strides = [2, 2]>(x, w) }"),
    "CumSum": Case(X, Y, "<int64 a = {1}> { y = CumSum(x, a) }"),
    "DepthToSpace": Case("T[N,4,8,8] x", "T[N,1,16,16] y", "{ y = DepthToSpace<blocksize = 2>(x) }"),
    "Det": Case("T[N,4,4] x", "T[N] y", "{ y = Det(x) }"),
    "Einsum": Case(f"{X}, T[N,6,5] z", "T[N,4,5] y", '{ y = Einsum<equation = "bij,bjk->bik">(x, z) }'),
    "Expand": Case("T[N,1,6] x", Y, "<int64[3] s = {1, 4, 6}> { y = Expand(x, s) }"),
    "Flatten": Case(X, "T[N,24] y", "{ y = Flatten<axis = 1>(x) }"),
    "Gather": Case(X, "T[N,3,6] y", "<int64[3] i = {3, 0, 1}> { y = Gather<axis = 1>(x, i) }"),
    "GatherElements": Case(f"{X}, int64[N,4,6] i", Y, "{ y = GatherElements<axis = 1>(x, i) }"),
    "GatherND": Case(f"{X}, int64[N,1,1] i", "T[N,1,6] y", "{ y = GatherND<batch_dims = 1>(x, i) }"),
    "Gemm": Case("T[N,6] x, T[6,4] w, T[4] b", FLAT, "{ y = Gemm(x, w, b) }"),
    "GlobalAveragePool": Case(IMAGE, "T[N,3,1,1] y", "{ y = GlobalAveragePool(x) }"),
    "GlobalMaxPool": Case(IMAGE, "T[N,3,1,1] y", "{ y = GlobalMaxPool(x) }"),
    "GridSample": Case(f"{IMAGE}, T[N,8,8,2] g", MAPS, "{ y = GridSample(x, g) }"),
    "GroupNormalization": Case(
        "T[N,4,8,8] x, T[4] s, T[4] b",
        "T[N,4,8,8] y",
        "{ y = GroupNormalization<num_groups = 2>(x, s, b) }",
        opset=21,
    ),
    "InstanceNormalization": Case(f"{IMAGE}, T[3] s, T[3] b", MAPS, "{ y = InstanceNormalization(x, s, b) }"),
    "IsInf": Case(X, BOOLS, "{ y = IsInf(x) }"),
    "IsNaN": Case(X, BOOLS, "{ y = IsNaN(x) }"),
    "LayerNormalization": Case(f"{X}, T[6] s, T[6] b", Y, "{ y = LayerNormalization(x, s, b) }"),
    "LRN": Case(IMAGE, MAPS, "{ y = LRN<size = 3>(x) }"),
    "MatMul": Case(f"{X}, T[6,5] w", "T[N,4,5] y", "{ y = MatMul(x, w) }"),
    "MatMulInteger": Case(f"{X}, T[6,5] w", "int32[N,4,5] y", "{ y = MatMulInteger(x, w) }"),
    "MaxPool": Case(IMAGE, "T[N,3,4,4] y", "{ y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) }"),
    "Mod": Case(f"{X}, T[N,4,6] z", Y, "{ y = Mod<fmod = 1>(x, z) }"),
    "OneHot": Case("int64[N,4] i, T[2] x", "T[N,4,6] y", "<int64 d = {6}> { y = OneHot(i, d, x) }"),
    "Pad": Case(X, "T[N,6,6] y", "<int64[6] p = {0, 1, 0, 0, 1, 0}> { y = Pad(x, p) }"),
    "PRelu": Case(f"{X}, T[6] s", Y, "{ y = PRelu(x, s) }"),
    "Reshape": Case(X, "T[N,24] y", "<int64[2] s = {0, 24}> { y = Reshape(x, s) }"),
    "Resize": Case(IMAGE, "T[N,3,16,16] y", "<float[4] s = {1.0, 1.0, 2.0, 2.0}> { y = Resize(x, , s) }"),
    "RMSNormalization": Case(f"{X}, T[6] s", Y, "{ y = RMSNormalization(x, s) }", opset=23),
    "ScatterElements": Case(f"{X}, int64[N,4,6] i, T[N,4,6] u", Y, "{ y = ScatterElements(x, i, u) }"),
    "ScatterND": Case(f"{X}, int64[N,1,3] i, T[N,1] u", Y, "{ y = ScatterND(x, i, u) }"),
    "Shape": Case(X, "int64[3] y", "{ y = Shape(x) }"),
    "Size": Case(X, "int64 y", "{ y = Size(x) }"),
    "Slice": Case(X, "T[N,2,6] y", "<int64[1] s = {1}, int64[1] e = {3}, int64[1] a = {1}> { y = Slice(x, s, e, a) }"),
    "SpaceToDepth": Case(IMAGE, "T[N,12,4,4] y", "{ y = SpaceToDepth<blocksize = 2>(x) }"),
    "Split": Case(X, "T[N,2,6] y, T[N,2,6] z", "{ y, z = Split<axis = 1, num_outputs = 2>(x) }"),
    "Squeeze": Case("T[N,4,1,6] x", Y, "<int64[1] a = {2}> { y = Squeeze(x, a) }"),
    "Tile": Case(X, "T[N,8,6] y", "<int64[3] r = {1, 2, 1}> { y = Tile(x, r) }"),
    "TopK": Case(X, "T[N,4,2] y, int64[N,4,2] i", "<int64[1] k = {2}> { y, i = TopK(x, k) }"),
    "Transpose": Case(X, "T[N,6,4] y", "{ y = Transpose<perm = [0, 2, 1]>(x) }"),
    "Trilu": Case(X, Y, "{ y = Trilu(x) }"),
    "Unique": Case("T[N] x", "T[M] y", "{ y = Unique(x) }"),
    "Unsqueeze": Case(X, "T[N,4,1,6] y", "<int64[1] a = {2}> { y = Unsqueeze(x, a) }"),
    "Where": Case(f"bool[N,4,6] c, {X}, T[N,4,6] z", Y, "{ y = Where(c, x, z) }"),
}
