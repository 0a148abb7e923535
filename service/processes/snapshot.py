"""Snapshot of a process's counts, for the other processes."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from prometheus_client import Metric
from prometheus_client.samples import Sample

from artifact import VersionKey
from service.telemetry.latency import LatencyCounts
from service.telemetry.statistics import Counts, total

_CUMULATIVE = ("counter", "histogram")
_SMALLEST = ("posbake_backend_up",)
_LARGEST = (
    *("posbake_backend_info", "posbake_model_load_seconds"),
    *("posbake_gpu_utilization", "posbake_gpu_memory_used_bytes", "posbake_gpu_memory_total_bytes"),
)
"""Metrics with the same meaning in every process. All others are added up."""


@dataclass(frozen=True)
class Snapshot:
    """Counts of one process, or of several together."""

    families: list[Metric] = field(default_factory=list)
    """Prometheus metrics."""
    latency: dict[VersionKey, LatencyCounts] = field(default_factory=dict)
    """Latency since the start."""
    recent: dict[VersionKey, LatencyCounts] = field(default_factory=dict)
    """Latency of the last minute."""
    statistics: dict[VersionKey, Counts] = field(default_factory=dict)

    def value(self, name: str, key: VersionKey) -> int:
        """Return the sum of a metric's samples of a version."""
        place = (key.model, key.variant, str(key.version))
        samples = (sample for family in self.families for sample in family.samples)
        return round(sum(sample.value for sample in samples if sample.name == name and _version(sample) == place))

    def ended(self) -> "Snapshot":
        """Return the snapshot without state, for a process that has ended."""
        return replace(self, families=[found for found in self.families if found.type in _CUMULATIVE], recent={})


def combined(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return the combined counts of several processes."""
    parts = list(snapshots)
    return Snapshot(
        merged([part.families for part in parts]),
        _added([part.latency for part in parts]),
        _added([part.recent for part in parts]),
        {key: total(part.statistics[key] for part in parts if key in part.statistics) for key in _keys(parts)},
    )


def merged(groups: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Merge families with the same name, and samples with the same labels."""
    families: dict[str, Metric] = {}
    samples: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], Sample]] = {}
    for family in (family for group in groups for family in group):
        families.setdefault(family.name, family)
        found = samples.setdefault(family.name, {})
        for sample in family.samples:
            place = (sample.name, frozenset(sample.labels.items()))
            found[place] = _merge(family.name, found[place], sample) if place in found else sample
    results = []
    for name, family in families.items():
        result = Metric(name, family.documentation, family.type, family.unit)
        result.samples = list(samples[name].values())
        results.append(result)
    return results


def only(families: Iterable[Metric], keys: Collection[VersionKey]) -> list[Metric]:
    """Remove samples of versions that are not in `keys`."""
    served = {(key.model, key.variant, str(key.version)) for key in keys} | {("", "", "")}
    results = []
    for family in families:
        result = Metric(family.name, family.documentation, family.type, family.unit)
        result.samples = [sample for sample in family.samples if _version(sample) in served]
        results.append(result)
    return results


def _version(sample: Sample) -> tuple[str, str, str]:
    labels = sample.labels
    return labels.get("model", ""), labels.get("variant", ""), labels.get("version", "")


def _merge(family: str, one: Sample, other: Sample) -> Sample:
    if family in _SMALLEST:
        return one._replace(value=min(one.value, other.value))
    if family in _LARGEST:
        return one._replace(value=max(one.value, other.value))
    return one._replace(value=one.value + other.value)


def _added(parts: list[dict[VersionKey, LatencyCounts]]) -> dict[VersionKey, LatencyCounts]:
    result: dict[VersionKey, LatencyCounts] = {}
    for part in parts:
        for key, counts in part.items():
            result[key] = result[key] + counts if key in result else counts
    return result


def _keys(parts: list[Snapshot]) -> set[VersionKey]:
    return {key for part in parts for key in part.statistics}
