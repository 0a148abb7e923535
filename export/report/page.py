"""Bake report as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from artifact import Draft
from export.report.charts import count_bars, error_chart, operator_bars, second_bars
from export.report.heat_maps import HIGH, LOW, MASKED, ZERO
from export.report.pictures import Gallery

REPORT_NAME = "report.html"

_LABELS = 6
"""Maximum number of labels on the page."""


@dataclass(frozen=True)
class Facts:
    """Contents of a page.

    Attributes:
        model, variant, version: identity of the artifact.
        draft: manifest without files and labels.
        labels: labels in class order.
        graph_bytes: size of the graph in bytes, including its data file.
        seconds: duration of each step before this page, in seconds.
        gallery: heat maps of the position constants.
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
    """Return the page as HTML; names and labels are escaped."""
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
        baked_bytes={
            kind: sum(item.bytes for item in draft.baked if item.kind == kind) for kind in ("static", "query-dependent")
        },
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
    """Return a formatted number of bytes, such as 600.2 KiB for 614656."""
    if count < 1024:
        return f"{count} B"
    units = ("KiB", "MiB", "GiB")
    power = min((count.bit_length() - 1) // 10, len(units))
    return f"{count / 1024**power:.1f} {units[power - 1]}"
