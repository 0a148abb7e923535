"""Graphs of random sizes from ONNX's text form, for tests of folded factors."""

import numpy as np
import onnx_ir as ir

from tests.export.passes.graphs import Array, graph_of, ints


def filled(random: np.random.Generator, *shape: int) -> Array:
    return (random.normal(size=shape) + 0.1).astype(np.float32)


def drawn(seed: int) -> tuple[dict[str, int], dict[str, Array]]:
    """Return random sizes (images B, tokens N, channels C = H·d of H heads, outputs D) and constants of those sizes."""
    random = np.random.default_rng(seed)
    batch, tokens, heads, out = (int(size) for size in random.integers(2, 5, size=4))
    width, tokens = 2 * int(random.integers(1, 3)), tokens + 4  # d is less than N
    channels = heads * width
    constants = {
        "half": np.array(0.5, np.float32),
        "of_heads": filled(random, heads, 1, 1),
        "of_rows": filled(random, tokens, 1),
        "gamma": filled(random, channels),
        "of_outputs": filled(random, out),
        "of_maps": filled(random, out, 1, 1),
        "of_channels": filled(random, channels, 1, 1),
        "none": np.zeros(out, np.float32),
        "w": filled(random, channels, out),
        "wt": filled(random, out, channels),
        "b": filled(random, out),
        "square": filled(random, channels, channels),
        "c": filled(random, channels),
        "qkv": filled(random, channels, 3 * channels),
        "qkv_b": filled(random, 3 * channels),
        "kernel": filled(random, out, channels, 1, 1),
        "wide": filled(random, out, channels, 3, 3),
        "plane": filled(random, tokens, channels),
        "packed": ints(batch, tokens, 3, heads, width),
        "apart": ints(batch, tokens, heads, width),
        "map": ints(batch, channels, tokens, 1),
        "zero": ints(0),
        "one": ints(1),
        "two": ints(2),
        "three": ints(3),
        "i0": np.array(0),
        "i1": np.array(1),
        "i2": np.array(2),
    }
    return {"B": batch, "N": tokens, "C": channels, "D": out, "H": heads, "d": width}, constants


def model_of(nodes: str, result: str, seed: int) -> ir.Model:
    sizes, constants = drawn(seed)
    shape = "[" + ",".join(str(sizes.get(size, size)) for size in result.strip("[]").split(",")) + "]"
    image = "[{B},{N},{C}]".format(**sizes)
    text = f"(float{image} image) => (float{shape} logits) {{ {nodes} }}"
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return graph_of(text, **{name: array for name, array in constants.items() if name in words})
