"""The bake report as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from artifact import Baked, Draft
from export.report.charts import count_bars, error_chart, operator_bars, second_bars
from export.report.heat_maps import HIGH, LOW, MASKED, ZERO
from export.report.pictures import Gallery

REPORT_NAME = "report.html"

_LABELS = 6
"""Shown of a label set."""


@dataclass(frozen=True)
class Facts:
    """Contents of a page.

    Attributes:
        model, variant, version: of the artifact.
        draft: its manifest without files and labels.
        labels: in class order.
        graph_bytes: size of the graph, its data file included.
        seconds: by step, of the steps before this page is written.
        gallery: the constants, drawn.
    """

    model: str
    variant: str
    version: int
    draft: Draft
    labels: Sequence[str]
    graph_bytes: int
    seconds: Mapping[str, float]
    gallery: Gallery


def render_page(facts: Facts) -> str:
    """Return the page. Whatever a name or label holds, it is shown as text."""
    draft = facts.draft
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["bytes"] = bytes_text
    environment.filters["percent"] = lambda share: f"{100 * share:.2f}%"
    environment.filters["rgb"] = lambda colour: f"rgb({', '.join(map(str, colour))})"
    template = environment.from_string(files(__package__).joinpath("template.html").read_text(encoding="utf-8"))
    operators = draft.graph.operators or {}
    return template.render(
        facts=facts,
        manifest=draft,
        baked_bytes={kind: _bytes_of(draft.baked, kind) for kind in ("static", "query-dependent")},
        largest=max((item.bytes for item in draft.baked), default=1) or 1,
        traced=sum(before for before, _ in operators.values()),
        left=sum(after for _, after in operators.values()),
        operators=operator_bars(draft.graph),
        nodes=count_bars(draft.graph.ops),
        errors=error_chart(draft.parity),
        steps=second_bars(facts.seconds),
        labels=facts.labels[:_LABELS],
        scale=(LOW, ZERO, HIGH),
        masked=MASKED,
    )


def bytes_text(count: int) -> str:
    """Return a number of bytes as it is read: 614656 is 600.2 KiB."""
    if count < 1024:
        return f"{count} B"
    units = ("KiB", "MiB", "GiB")
    power = min((count.bit_length() - 1) // 10, len(units))
    return f"{count / 1024**power:.1f} {units[power - 1]}"


def _bytes_of(baked: Sequence[Baked], kind: str) -> int:
    return sum(item.bytes for item in baked if item.kind == kind)
