"""The checks of an audit: one a file, in the order in which they are made.

A new check is a file and a line in `CHECKS`.
"""

from export.auditing.checks.base import Check
from export.auditing.checks.constant_only import check_constant_only
from export.auditing.checks.data_types import check_types
from export.auditing.checks.dimensions import check_dimensions
from export.auditing.checks.domains import check_domains
from export.auditing.checks.duplicates import check_duplicates
from export.auditing.checks.float64 import check_float64
from export.auditing.checks.operators import check_operators
from export.auditing.checks.opsets import check_opsets
from export.auditing.checks.restrictions import check_restrictions
from export.auditing.checks.shape_arithmetic import check_shape_arithmetic
from export.auditing.checks.unused import check_unused

CHECKS: dict[str, Check] = {
    "constant-only": check_constant_only,
    "shape-arithmetic": check_shape_arithmetic,
    "dimensions": check_dimensions,
    "opset": check_opsets,
    "operator": check_operators,
    "type": check_types,
    "restriction": check_restrictions,
    "domain": check_domains,
    "duplicate": check_duplicates,
    "float64": check_float64,
    "unused": check_unused,
}

__all__ = ["CHECKS", "Check"]
