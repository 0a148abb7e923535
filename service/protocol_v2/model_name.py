"""Model names in paths: `<model>@<variant>`, or `<model>` for its default variant."""

from typing import Annotated

from fastapi import Depends, Request

from service.catalogue.catalogue import Catalogue, Servable
from service.problems.client_errors import ProtocolError, UnknownNameError
from service.protocol_v2.messages import shown
from service.serving import Ready, Serving
from service.telemetry.record import record_of


def find(catalogue: Catalogue, name: str, version: str | None = None, variant: str | None = None) -> Servable:
    """Return the version served under a name.

    Args:
        catalogue: the versions that are served.
        name: `<model>` or `<model>@<variant>`.
        version: None is the newest.
        variant: parameter of the request; None uses the name.

    Raises:
        UnknownNameError: no such version is served.
        ProtocolError: the name and the parameter name different variants.
    """
    model, at, named = name.partition("@")
    if at and variant is not None and variant != named:
        raise ProtocolError(
            f"the path names variant {shown(named)}, but the parameters name {shown(variant)}; name only one"
        )
    chosen = named if at else variant if variant is not None else catalogue.default_variant(model)
    versions = catalogue.versions(model, chosen)
    if version is None:
        return versions[-1]
    for servable in versions:
        if str(servable.key.version) == version:
            return servable
    known = [servable.key.version for servable in versions]
    raise UnknownNameError(f"model {model!r}, variant {chosen!r} has no version {shown(version)}", known)


def requested(request: Request, serving: Serving, variant: str | None = None) -> Servable:
    """Return the requested version, and set the key of the request's record.

    Args:
        request: request with a name, and optionally a version, in its path.
        serving: the versions that are served.
        variant: parameter of the request; None uses the name.

    Raises:
        UnknownNameError, ProtocolError: as `find`.
    """
    path = request.path_params
    servable = find(serving.catalogue, path["name"], path.get("version"), variant)
    record_of(request.scope).key = servable.key
    return servable


async def _chosen(request: Request, serving: Ready) -> Servable:  # async: see `service.serving`
    return requested(request, serving)


Chosen = Annotated[Servable, Depends(_chosen)]
"""Type of an endpoint's parameter for the version named in the path; 404 if it is not served."""
