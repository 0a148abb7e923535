"""iRPE's buckets, compared with the authors' implementation; test_cream.py compares whole networks."""

import json
from typing import Any, cast

import numpy as np

from models.encodings import Place
from models.encodings.irpe_buckets import irpe_buckets
from tests.models.goldens import irpe_goldens

MAPPING_AND_PART = {"cross_rows": ("cross", "rows"), "cross_cols": ("cross", "columns")}


def test_all_buckets_equal_the_authors() -> None:
    folder = irpe_goldens()
    cases = json.loads((folder / "irpe_bucket_ids.json").read_text())
    assert len(cases) == 6
    with np.load(folder / "irpe_bucket_ids.npz") as arrays:
        assert sorted(arrays) == sorted(case["key"] for case in cases)
        for case in cases:
            mapping, part = MAPPING_AND_PART.get(case["method"], (case["method"],) * 2)
            place = Place((case["height"], case["width"]), case["skip"], width=48, num_heads=3)
            limits = (case["alpha"], case["beta"], case["gamma"])
            buckets = irpe_buckets(cast("Any", mapping), place, "piecewise", limits, "squared")[part]
            assert buckets.count == case["num_buckets"]
            assert np.array_equal(buckets.index.numpy(), arrays[case["key"]])
            clipped = irpe_buckets(cast("Any", mapping), place, "clip", limits, "squared")[part]
            if case["method"] != "quantization":  # with β = 3, both functions clip squares to 3
                assert not np.array_equal(clipped.index.numpy(), arrays[case["key"]])  # so the comparison can fail
