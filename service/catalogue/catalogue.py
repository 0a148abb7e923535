"""Catalogue of served versions by model and variant, with defaults."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from artifact import Artifact, Manifest, Task, VersionKey
from artifact.text import quoted
from service.backends.golden import GoldenCheck
from service.backends.restartable import Restartable
from service.backends.warming import warm
from service.catalogue.fingerprint import Fingerprint
from service.problems.client_errors import InvalidParameterError, UnknownNameError
from service.problems.errors import TaskError


@dataclass(eq=False)
class Servable:
    """Artifact and its backend. Compared by identity, because a replaced artifact may have two.

    Immutable, except for the accuracy of its manifest, which may be recorded while it is served.
    """

    artifact: Artifact
    backend: Restartable
    warm_seconds: float = 0.0
    """Time of its first run, at batch 1."""
    load_seconds: float = 0.0
    """Time to verify, open and warm it."""
    golden: GoldenCheck | None = None
    """Result of the golden check at load; None if the artifact has no golden file."""

    @property
    def manifest(self) -> Manifest:
        """The artifact's manifest."""
        return self.artifact.manifest

    @cached_property  # read several times in a request
    def key(self) -> VersionKey:
        """Model, variant and version."""
        return self.manifest.key

    def largest_batch(self, max_batch: int) -> int:
        """Return the largest batch: that of the artifact, at most `max_batch`."""
        return largest_batch(self.manifest, max_batch)

    def take_accuracy(self, artifact: Artifact) -> None:
        """Replace the accuracy by that of a newer manifest. Thread-safe."""
        assert artifact.manifest.same_but_accuracy(self.manifest)
        self.artifact = artifact

    def restart(self, images: int) -> None:
        """Replace the backend by a new one after its warm-up, at batch 1 and at `images`, and the golden check.

        Raises:
            Exception: any exception of opening it or of its first runs.
        """
        self.backend.restart(lambda fresh: warm(self.artifact, fresh, images))


MOST_LISTED = 200
"""Maximum number of refused artifacts in a document; each has a reason of up to 1,000 characters."""


def largest_batch(manifest: Manifest, max_batch: int) -> int:
    """Return the largest batch of an artifact, at most `max_batch`."""
    return min(manifest.input.batch.max, max_batch)


@dataclass(frozen=True)
class Refused:
    """An artifact of the repository that is not served.

    Attributes:
        name: `<model>/<variant>/<version>`.
        reason: the reason.
        passing: whether the cause may pass without a change of its files.
    """

    name: str
    reason: str
    passing: bool = False


class Catalogue:
    """All versions by model, variant and number. Immutable: a change creates a new catalogue.

    Args:
        servables: one for each name.
        refused: artifacts of the repository that cannot be served.
        default_model: model of requests that name none; None means the only one, if there is only one.
        seen: fingerprint of each artifact, by its directories' names, when it was accepted or refused.
    """

    def __init__(
        self,
        servables: Iterable[Servable],
        refused: Iterable[Refused] = (),
        default_model: str | None = None,
        seen: Mapping[str, Fingerprint] = MappingProxyType({}),
    ) -> None:
        self._tree: dict[str, dict[str, dict[int, Servable]]] = {}
        for servable in sorted(servables, key=lambda servable: servable.key):
            key = servable.key
            self._tree.setdefault(key.model, {}).setdefault(key.variant, {})[key.version] = servable
        self.refused = tuple(sorted(refused, key=lambda found: found.name))
        self.seen = seen
        self._given_model = default_model
        only = next(iter(self._tree)) if len(self._tree) == 1 else None
        self.default_model = default_model if default_model is not None else only

    def with_served(self, servable: Servable) -> Catalogue:
        """Return a catalogue in which `servable` replaces the version, or the refusal, of its name."""
        without = self.without([str(servable.key)])
        return Catalogue([*without.servables(), servable], without.refused, self._given_model, self.seen)

    def with_refused(self, refused: Refused) -> Catalogue:
        """Return a catalogue with another refusal. A served version of that name is kept."""
        others = [found for found in self.refused if found.name != refused.name]
        return Catalogue(self.servables(), [*others, refused], self._given_model, self.seen)

    def without(self, names: Collection[str]) -> Catalogue:
        """Return a catalogue without these artifacts, named `<model>/<variant>/<version>`."""
        servables = [servable for servable in self.servables() if str(servable.key) not in names]
        refused = [found for found in self.refused if found.name not in names]
        return Catalogue(servables, refused, self._given_model, self.seen)

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
        """Return the variant whose newest version is the most accurate. Raises UnknownNameError."""
        return self.by_accuracy(model)[0].manifest.variant

    def task(self, model: str) -> Task:
        """Return the task of a model, the same for all its variants. Raises UnknownNameError."""
        variants = self._variants_of(model)
        return next(iter(next(iter(variants.values())).values())).manifest.task

    def check_task(self, servable: Servable) -> None:
        """Raise TaskError unless a servable has the task of its model's other versions."""
        for other in self._tree.get(servable.key.model, {}).values():
            for version in other.values():
                if version.key != servable.key and version.manifest.task != servable.manifest.task:
                    raise TaskError(
                        f"its task is {servable.manifest.task}, but that of the served {version.key} is "
                        f"{version.manifest.task}; all variants of a model have one task: export it with another "
                        "--model, or remove the others first"
                    )

    def by_accuracy(self, model: str) -> list[Servable]:
        """Return the newest version of every variant, the most accurate first; ties go to the first name.

        Variants without a measured accuracy come last.

        Raises:
            UnknownNameError: the model is not served.
        """

        def rank(servable: Servable) -> tuple[float, str]:
            accuracy = servable.manifest.accuracy
            return (-accuracy.top1 if accuracy else 1.0, servable.manifest.variant)

        return sorted((self.newest(model, variant) for variant in self.variants(model)), key=rank)

    def served(self, name: str) -> Servable | None:
        """Return the version that is served under the name `<model>/<variant>/<version>`, if any."""
        return next((servable for servable in self.servables() if str(servable.key) == name), None)

    def find(self, model: str | None = None, variant: str | None = None, version: int | None = None) -> Servable:
        """Return the requested version, with defaults for omitted names.

        Raises:
            UnknownNameError: a model, variant or version is not served.
            InvalidParameterError: no model was named, several are served, and there is no default.
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
        """Return `model`, or the default model for None.

        Raises:
            UnknownNameError: nothing is served.
            InvalidParameterError: several are served, and there is no default.
        """
        model = model if model is not None else self.default_model
        if model is None and not self._tree:
            raise UnknownNameError("no model is loaded", ())
        if model is None:
            raise InvalidParameterError(
                f"model is missing, and several are served: {', '.join(self.models())}; name one", known=self.models()
            )
        return model

    def servables(self) -> list[Servable]:
        """Return all versions, in order."""
        return [
            servable for model in self._tree.values() for variant in model.values() for servable in variant.values()
        ]

    def close(self) -> None:
        """Close every backend."""
        for servable in self.servables():
            servable.backend.close()

    def _variants_of(self, model: str) -> dict[str, dict[int, Servable]]:
        if model not in self._tree:
            raise UnknownNameError(f"model {quoted(model)} is unknown", self._tree)
        return self._tree[model]

    def _versions_of(self, model: str, variant: str) -> dict[int, Servable]:
        variants = self._variants_of(model)
        if variant not in variants:
            raise UnknownNameError(f"model {model!r} has no variant {quoted(variant)}", variants)
        return variants[variant]
