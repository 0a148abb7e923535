"""`python -m deploy.monitoring.preview URL FILE.png [MINUTES]`: plot of the dashboard's panels without Grafana.

Runs the queries of `PANELS` on Prometheus and plots them with matplotlib, in the dashboard's order.
"""

import json
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, PercentFormatter

from deploy.monitoring.dashboard import PANELS, Panel

Point = tuple[float, float]
"""Minutes relative to the end (negative), and the value."""

_COLUMNS = 3
_STEPS = 120
_LEGENDS = 6


def draw(url: str, picture: str, minutes: float) -> None:
    """Write a PNG of every panel that has data, over the last minutes."""
    end = time.time()
    found = [(panel, curves) for panel in PANELS if (curves := _curves(url, panel, end - 60 * minutes, end))]
    figure, grid = plt.subplots(
        -(-len(found) // _COLUMNS), _COLUMNS, figsize=(15, 2.9 * -(-len(found) // _COLUMNS)), squeeze=False
    )
    for axes in grid.flat[len(found) :]:
        axes.set_axis_off()
    for axes, (panel, curves) in zip(grid.flat, found, strict=False):
        _plot(axes, panel, curves)
    figure.tight_layout()
    figure.savefig(picture, dpi=72)


def _curves(url: str, panel: Panel, start: float, end: float) -> dict[str, list[Point]]:
    """Return times and values by legend."""
    curves = {}
    for query in panel.queries:
        parameters = {"query": query.over_everything("15s"), "start": start, "end": end, "step": (end - start) / _STEPS}
        address = f"{url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address) as answer:  # noqa: S310 -- the operator's own Prometheus
            for series in json.load(answer)["data"]["result"]:
                legend = query.legend
                for name, value in series["metric"].items():
                    legend = legend.replace(f"{{{{{name}}}}}", value)
                curves[legend] = [((moment - end) / 60, float(value)) for moment, value in series["values"]]
    return curves


def _plot(axes: Axes, panel: Panel, curves: dict[str, list[Point]]) -> None:
    by_size = sorted(curves.items(), key=lambda curve: -max(value for _, value in curve[1]))
    for legend, points in by_size:
        axes.plot(*zip(*points, strict=True), linewidth=1, label=legend if len(axes.lines) < _LEGENDS else None)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)
    unit = {"s": "s", "bytes": "B"}.get(panel.unit, "")
    if panel.unit == "percentunit":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    elif unit:
        axes.yaxis.set_major_formatter(EngFormatter(unit))
    axes.legend(fontsize=7, loc="upper left", frameon=False)


def main(arguments: Sequence[str]) -> None:
    """Plot the dashboard from the Prometheus in the arguments."""
    url, picture, *minutes = arguments
    draw(url.rstrip("/"), picture, float(*minutes) if minutes else 15)


if __name__ == "__main__":
    main(sys.argv[1:])
