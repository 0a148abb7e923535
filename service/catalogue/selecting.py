"""Selection of the most accurate variant that is fast enough (`variant=auto`).

A variant is fast enough if the p95 of its responses over the last minute is within the deadline. Without responses the
time of its first run is used, so a variant that was too slow is tried again after a minute.
"""

from collections.abc import Collection, Sequence

from service.catalogue.catalogue import Catalogue, Servable
from service.problems.server_errors import BackendDownError, NoVariantFitsError
from service.schemas import Candidate, Selection
from service.telemetry.latency import RECENT_SECONDS, LatencyRecorder

AUTO = "auto"
"""Name that requests the selection; a variant of this name is available only as the default variant."""


def select(
    catalogue: Catalogue, latency: LatencyRecorder, down: Collection[Servable], model: str | None, timeout_ms: int
) -> tuple[Servable, Selection]:
    """Return the newest version of the most accurate variant whose p95 fits, and the reason.

    Variants without a measured accuracy come last; ties in the order of their names.

    Args:
        catalogue: the versions that are served.
        latency: their recent p95.
        down: those that are being restarted.
        model: None is the default one.
        timeout_ms: the deadline.

    Raises:
        UnknownNameError: there is no such model.
        InvalidParameterError: no model was named, and there is no default.
        NoVariantFitsError: none is fast enough.
        BackendDownError: every variant is being restarted.
    """
    model = catalogue.model_or_default(model)
    considered: list[Candidate] = []
    for servable in catalogue.by_accuracy(model):
        candidate = _candidate(servable, latency, timeout_ms, servable in down)
        considered.append(candidate)
        if candidate.verdict == "chosen":
            return servable, Selection(reason=_reason(candidate, timeout_ms, considered), considered=considered)
    raise _none_fits(model, timeout_ms, considered)


def _candidate(servable: Servable, latency: LatencyRecorder, timeout_ms: int, is_down: bool) -> Candidate:
    p95 = latency.recent_p95(servable.key)
    known = p95 if p95 is not None else servable.warm_seconds * 1000
    manifest = servable.manifest
    return Candidate(
        variant=manifest.variant,
        version=manifest.version,
        top1=manifest.accuracy.top1 if manifest.accuracy else None,
        p95_ms=round(known, 3),
        basis="warm-up" if p95 is None else "measured",
        verdict="down" if is_down else "chosen" if known <= timeout_ms else "too slow",
    )


def _reason(chosen: Candidate, timeout_ms: int, considered: Sequence[Candidate]) -> str:
    accuracy = "of unknown accuracy" if chosen.top1 is None else f"with a top-1 accuracy of {chosen.top1:.4f}"
    passed_over = len(considered) - 1
    rest = f"; more accurate but too slow or down: {passed_over}" if passed_over else ""
    return f"{chosen.variant}, {accuracy}, is the most accurate whose {_p95(chosen)} fits {timeout_ms} ms{rest}"


def _p95(candidate: Candidate) -> str:
    if candidate.basis == "warm-up":
        return f"first run ({candidate.p95_ms:.1f} ms; nothing was measured in the last {RECENT_SECONDS} s)"
    return f"p95 ({candidate.p95_ms:.1f} ms over the last {RECENT_SECONDS} s)"


def _none_fits(model: str, timeout_ms: int, considered: Sequence[Candidate]) -> NoVariantFitsError | BackendDownError:
    slow = [candidate for candidate in considered if candidate.verdict == "too slow"]
    if not slow:
        return BackendDownError(f"every variant of {model!r} failed and is being restarted; try again later")
    fastest = min(slow, key=lambda candidate: candidate.p95_ms)
    return NoVariantFitsError(
        f"no variant of {model!r} fits {timeout_ms} ms; of the fastest, {fastest.variant}, the {_p95(fastest)} "
        "does not; raise timeout_ms, or name a variant to try it anyway",
        considered=[candidate.model_dump() for candidate in considered],
    )
