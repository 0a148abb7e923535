"""Identity of a version: model, variant and version number."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class VersionKey:
    """Identity of a version; its string is `<model>/<variant>/<version>`, its path in a repository."""

    model: str
    variant: str
    version: int

    def __str__(self) -> str:
        return f"{self.model}/{self.variant}/{self.version}"

    @property
    def name(self) -> str:
        """`<model>@<variant>`, the name of the variant without a version."""
        return f"{self.model}@{self.variant}"
