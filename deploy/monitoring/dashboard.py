"""Grafana dashboard of the service; `python -m deploy.monitoring.dashboard` writes grafana/posbake.json.

`PANELS` lists all charts in reading order; the layout is derived from it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).parent / "grafana" / "posbake.json"

_COLUMNS = 24
_HEIGHT = 8
_SELECTED = 'model=~"$model",variant=~"$variant"'


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and the legend of its curves in Grafana's `{{label}}` syntax."""

    expression: str
    legend: str

    def over_everything(self, interval: str) -> str:
        """Return the expression with Grafana's variables replaced: all versions, rates over `interval`."""
        return self.expression.replace("$__rate_interval", interval).replace("$model", ".*").replace("$variant", ".*")


@dataclass(frozen=True)
class Panel:
    """One chart.

    Args:
        unit: Grafana's name of the y axis's unit.
        stacked: whether the curves are stacked.
        needs_gpu: whether the panel has data only with a backend on a GPU.
    """

    title: str
    description: str
    unit: Literal["s", "reqps", "short", "percentunit", "bytes", "ops"]
    queries: tuple[Query, ...]
    width: int = 8
    stacked: bool = False
    needs_gpu: bool = False


def _rate(metric: str, selector: str = _SELECTED) -> str:
    return f"rate({metric}{{{selector}}}[$__rate_interval])"


def _quantile(share: float, stage: str) -> str:
    buckets = _rate("posbake_stage_seconds_bucket", f'{_SELECTED},stage="{stage}"')
    return f"histogram_quantile({share}, sum by (le, model, variant) ({buckets}))"


_ANY_NAME = 'model=~"$model|",variant=~"$variant|"'
"""Includes requests refused before a version was found, whose labels are empty."""
_FAILED = _ANY_NAME + ',status=~"5.."'
_STAGES = _SELECTED + ',stage!="total"'

PANELS = (
    Panel(
        "Requests",
        "Classification and inference requests, by status. 429 and 503 are refused requests, see Rejections.",
        "reqps",
        (Query(f"sum by (status) ({_rate('posbake_requests_total', _ANY_NAME)})", "{{status}}"),),
        stacked=True,
    ),
    Panel(
        "Server errors",
        "Share of responses with 5xx. The alert PosbakeErrors fires above 1 %.",
        "percentunit",
        (
            Query(
                f"sum({_rate('posbake_requests_total', _FAILED)}) "
                f"/ sum({_rate('posbake_requests_total', _ANY_NAME)}) or vector(0)",
                "5xx",
            ),
        ),
    ),
    Panel(
        "Rejections",
        "Rejected requests, by reason: queue-full and deadline-passed call for more replicas, the others are client "
        "errors or failures.",
        "reqps",
        (Query(f"sum by (reason) ({_rate('posbake_rejections_total', _ANY_NAME)})", "{{reason}}"),),
        stacked=True,
    ),
    Panel(
        "Latency, 95th percentile",
        "From the complete request to the response, by variant. The alert PosbakeSlow compares it with the target.",
        "s",
        (Query(_quantile(0.95, "total"), "{{model}} {{variant}}"),),
    ),
    Panel(
        "Latency, median",
        "From the complete request to the response, by variant.",
        "s",
        (Query(_quantile(0.5, "total"), "{{model}} {{variant}}"),),
    ),
    Panel(
        "Mean time of each stage",
        "Over all selected variants. A long queue stage calls for more replicas, a long decode stage for more cores or "
        "smaller images.",
        "s",
        (
            Query(
                f"sum by (stage) ({_rate('posbake_stage_seconds_sum', _STAGES)}) "
                f"/ sum by (stage) ({_rate('posbake_stage_seconds_count', _STAGES)})",
                "{{stage}}",
            ),
        ),
        stacked=True,
    ),
    Panel(
        "Images run",
        "Images per second, by variant.",
        "ops",
        (Query(f"sum by (model, variant) ({_rate('posbake_batch_images_sum')})", "{{model}} {{variant}}"),),
        stacked=True,
    ),
    Panel(
        "Mean batch size",
        "Images per run. 1 is normal at low load; at high load MAX_BATCH is the limit.",
        "short",
        (
            Query(
                f"sum by (model, variant) ({_rate('posbake_batch_images_sum')}) "
                f"/ sum by (model, variant) ({_rate('posbake_batch_images_count')})",
                "{{model}} {{variant}}",
            ),
        ),
    ),
    Panel(
        "Queues",
        "Images waiting to be decoded and to be run, limited by MAX_DECODE_QUEUE and MAX_QUEUE.",
        "short",
        (
            Query("sum(posbake_decode_queue_images)", "decode"),
            Query(f"sum by (model, variant) (posbake_queue_images{{{_SELECTED}}})", "{{model}} {{variant}}"),
        ),
    ),
    Panel(
        "Backends that are down",
        "Versions whose backend is being restarted, and restarts in the last hour.",
        "short",
        (
            Query(f"sum(1 - posbake_backend_up{{{_SELECTED}}})", "down"),
            Query(f"sum(increase(posbake_backend_restarts_total{{{_SELECTED}}}[1h]))", "restarts"),
        ),
    ),
    Panel(
        "Memory of requests",
        "Bytes of bodies and decoded pixels in memory, and the limit MAX_HELD_BYTES.",
        "bytes",
        (
            Query("sum by (instance) (posbake_held_bytes)", "{{instance}}"),
            Query("min(posbake_held_bytes_limit)", "limit"),
        ),
    ),
    Panel(
        "Abandoned work, lost log lines, refused connections",
        "In the last hour. After an increase, check the log.",
        "short",
        (
            Query("sum by (work) (increase(posbake_abandoned_total[1h]))", "abandoned {{work}}"),
            Query("sum(increase(posbake_log_lines_dropped_total[1h]))", "log lines"),
            Query("sum(increase(posbake_connections_refused_total[1h]))", "connections"),
            Query('sum(increase(posbake_model_loads_total{outcome="failure"}[1h]))', "refused artifacts"),
        ),
    ),
    Panel(
        "GPU utilisation",
        "Share of time a GPU was busy.",
        "percentunit",
        (Query("posbake_gpu_utilization", "{{instance}} {{gpu}}"),),
        width=12,
        needs_gpu=True,
    ),
    Panel(
        "GPU memory",
        "Memory in use, by any process.",
        "bytes",
        (Query("posbake_gpu_memory_used_bytes", "{{instance}} {{gpu}}"),),
        width=12,
        needs_gpu=True,
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON model."""
    return {
        "uid": "posbake",
        "title": "posbake",
        "description": "Requests, latency, queues and failures of the posbake service.",
        "tags": ["posbake"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                _variable("model", "Model", "label_values(posbake_backend_up, model)"),
                _variable("variant", "Variant", 'label_values(posbake_backend_up{model=~"$model"}, variant)'),
            ]
        },
        "panels": [_panel(number, panel, *place) for number, (panel, place) in enumerate(_placed(), start=1)],
    }


def _placed() -> list[tuple[Panel, tuple[int, int]]]:
    """Return the panels with their columns and rows, placed from left to right."""
    placed, x, y = [], 0, 0
    for panel in PANELS:
        if x + panel.width > _COLUMNS:
            x, y = 0, y + _HEIGHT
        placed.append((panel, (x, y)))
        x += panel.width
    return placed


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {
                    "fillOpacity": 25 if panel.stacked else 0,
                    "lineWidth": 1,
                    "showPoints": "never",
                    "stacking": {"mode": "normal" if panel.stacked else "none"},
                },
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": query.expression,
                "legendFormat": query.legend,
                "datasource": source,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def text() -> str:
    """Return the contents of the dashboard file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
