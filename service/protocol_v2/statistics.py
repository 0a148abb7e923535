"""Counts of a model in the JSON form of Triton's statistics extension; times are in ns."""

from typing import Any

from artifact import VersionKey
from service.telemetry.statistics import Batches, Counts, Duration

_STAGES = ("compute_input", "compute_infer", "compute_output")
_NONE = {"count": 0, "ns": 0}


def model_statistics(key: VersionKey, counts: Counts) -> dict[str, Any]:
    """Return one entry of `model_stats`."""
    return {
        "name": key.name,
        "version": str(key.version),
        "last_inference": counts.last_inference_ms,
        "inference_count": counts.images,
        "execution_count": round(counts.executions),
        "inference_stats": {
            **{stage: _duration(getattr(counts, stage)) for stage in ("success", "fail", "queue", *_STAGES)},
            "cache_hit": _NONE,  # no response cache
            "cache_miss": _NONE,
        },
        "response_stats": {},  # only for models with several responses per request
        "memory_usage": [],
        "batch_stats": [_batch(size, batches) for size, batches in sorted(counts.batches.items())],
    }


def _batch(size: int, batches: Batches) -> dict[str, Any]:
    return {"batch_size": size, **{stage: _duration(getattr(batches, stage)) for stage in _STAGES}}


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": round(duration.count), "ns": round(1000 * duration.microseconds)}
