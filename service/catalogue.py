"""What this server serves: models, their variants, their versions, and which of them a request gets by default."""

from collections.abc import Iterable
from dataclasses import dataclass

from artifact import Artifact, Manifest
from service.backends.base import Backend
from service.errors import InvalidParameterError, UnknownNameError
from service.telemetry.latency import Key


@dataclass(frozen=True)
class Servable:
    """An artifact and what runs it."""

    artifact: Artifact
    backend: Backend

    @property
    def manifest(self) -> Manifest:
        """The artifact's manifest."""
        return self.artifact.manifest

    @property
    def key(self) -> Key:
        """Its names."""
        return Key(self.manifest.model, self.manifest.variant, self.manifest.version)


@dataclass(frozen=True)
class Refused:
    """An artifact that is not served: its directories' names, and why."""

    name: str
    reason: str


class Catalogue:
    """Every servable by model, variant and version. It does not change.

    Args:
        servables: at least one.
        refused: what was found in the repository but cannot be served.
        default_model: the model of a request that names none; None means the only one, if there is only one.

    Raises:
        UnknownNameError: the default model is not served.
    """

    def __init__(
        self, servables: Iterable[Servable], refused: Iterable[Refused] = (), default_model: str | None = None
    ) -> None:
        self._tree: dict[str, dict[str, dict[int, Servable]]] = {}
        for servable in sorted(servables, key=lambda servable: servable.key):
            key = servable.key
            self._tree.setdefault(key.model, {}).setdefault(key.variant, {})[key.version] = servable
        assert self._tree
        self.refused = tuple(refused)
        if default_model is not None:
            self._variants_of(default_model)
        self.default_model = next(iter(self._tree)) if len(self._tree) == 1 else default_model

    def models(self) -> list[str]:
        """Return the models' names in order."""
        return list(self._tree)

    def variants(self, model: str) -> list[str]:
        """Return the names of a model's variants in order. Raises UnknownNameError."""
        return list(self._variants_of(model))

    def versions(self, model: str, variant: str) -> list[Servable]:
        """Return a variant's versions, oldest first. Raises UnknownNameError."""
        return list(self._versions_of(model, variant).values())

    def newest(self, model: str, variant: str) -> Servable:
        """Return a variant's newest version. Raises UnknownNameError."""
        return self.versions(model, variant)[-1]

    def default_variant(self, model: str) -> str:
        """Return the variant whose newest version is the most accurate; ties go to the first name.

        One whose accuracy was never measured comes after all that have one.
        """

        def rank(variant: str) -> tuple[float, str]:
            accuracy = self.newest(model, variant).manifest.accuracy
            return (-accuracy.top1 if accuracy else 1.0, variant)

        return min(self.variants(model), key=rank)

    def find(self, model: str | None = None, variant: str | None = None, version: int | None = None) -> Servable:
        """Return what a request asks for, with the defaults for what it leaves open.

        Raises:
            UnknownNameError: a model, variant or version is not served.
            InvalidParameterError: no model was named, and there is no default one.
        """
        model = self.model_or_default(model)
        variant = variant if variant is not None else self.default_variant(model)
        versions = self._versions_of(model, variant)
        if version is None:
            return versions[max(versions)]
        if version not in versions:
            raise UnknownNameError(f"model {model!r}, variant {variant!r} has no version {version}", versions)
        return versions[version]

    def model_or_default(self, model: str | None) -> str:
        """Return `model`, or the default one for None. Raises InvalidParameterError if there is no default one."""
        model = model if model is not None else self.default_model
        if model is None:
            raise InvalidParameterError(
                f"model is missing, and several are served: {', '.join(self.models())}; name one", known=self.models()
            )
        return model

    def servables(self) -> list[Servable]:
        """Return everything that is served, in order."""
        return [
            servable for model in self._tree.values() for variant in model.values() for servable in variant.values()
        ]

    def close(self) -> None:
        """Close every backend."""
        for servable in self.servables():
            servable.backend.close()

    def _variants_of(self, model: str) -> dict[str, dict[int, Servable]]:
        if model not in self._tree:
            raise UnknownNameError(f"model {model!r} is unknown", self._tree)
        return self._tree[model]

    def _versions_of(self, model: str, variant: str) -> dict[int, Servable]:
        variants = self._variants_of(model)
        if variant not in variants:
            raise UnknownNameError(f"model {model!r} has no variant {variant!r}", variants)
        return variants[variant]
