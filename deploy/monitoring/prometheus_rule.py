"""Alerts as a PrometheusRule; `python -m deploy.monitoring.prometheus_rule` writes prometheus-rule.yaml."""

from pathlib import Path
from textwrap import indent

FILE = Path(__file__).parent / "prometheus-rule.yaml"
ALERTS = Path(__file__).parent / "alerts.yml"

_HEAD = """\
# Written by python -m deploy.monitoring.prometheus_rule from alerts.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: posbake
spec:
"""


def text() -> str:
    """Return the resource: the groups of alerts.yml under `spec`."""
    return _HEAD + indent(ALERTS.read_text(), "  ")


if __name__ == "__main__":
    FILE.write_text(text())
