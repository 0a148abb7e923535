"""Exceptions of OpenVINO, and their messages."""

import openvino

from service.backends.contract import reason

FAILED = (
    *(RuntimeError, ValueError, TypeError, openvino.frontend.GeneralFailure, openvino.frontend.OpConversionFailure),
    *(openvino.frontend.InitializationFailure, openvino.frontend.NotImplementedFailure),
    openvino.frontend.OpValidationFailure,
)
"""Exceptions of OpenVINO, which have no common base class."""

_OWN_SOURCE = " src/"


def said(error: Exception) -> str:
    """Return OpenVINO's message without the lines that refer to its source code."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and _OWN_SOURCE not in line]
    return reason("; ".join(kept or lines))
