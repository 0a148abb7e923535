"""What an audit says: findings, and the audit that holds them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning", "info"]


class Remark(BaseModel):
    """One thing that a check noticed.

    Attributes:
        severity: `error`: TensorRT's support table says no. `warning`: work or bytes that deployment does not need,
            or a shape it does not know. `info`: to be known, not to be mended.
        found: what is there.
        remedy: what to do about it.
        name: of the node, tensor, function or domain it is about; None if it is about the whole model.
        op: the node's operator.
        scope: the torch module that the node was made from, where the exporter left it in the node's metadata.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    severity: Severity
    found: str
    remedy: str
    name: str | None = None
    op: str | None = None
    scope: str | None = None


class Finding(Remark):
    """A remark and the check that made it."""

    check: str


class Audit(BaseModel):
    """What all checks found in one model.

    Attributes:
        opsets: version by domain; the standard domain is the empty string.
        nodes: of the graph, its subgraphs and its functions.
        tensorrt: the version whose support the model was held against.
        checks: that were made.
        findings: in the order of the checks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    opsets: dict[str, int]
    nodes: int
    tensorrt: str
    checks: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether there is nothing to mend: no error and no warning."""
        return all(finding.severity == "info" for finding in self.findings)

    def of(self, check: str) -> tuple[Finding, ...]:
        """Return the findings of one check.

        Raises:
            KeyError: no check of that name was made.
        """
        if check not in self.checks:
            raise KeyError(f"no check {check!r}; there are {', '.join(self.checks)}")
        return tuple(finding for finding in self.findings if finding.check == check)
