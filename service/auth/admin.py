"""Authorisation of routes that only an admin may use.

    @router.post("/v2/repository/models/{name}/load", dependencies=[AdminOnly])

A route class that skips FastAPI's dependencies awaits `require_admin(request)` first.
"""

from fastapi import Depends, Request

from service.problems.client_errors import AdminRequiredError
from service.telemetry.record import record_of


async def require_admin(request: Request) -> None:
    """Return if the request came with an admin key, which it cannot where no file of keys is set.

    Raises:
        AdminRequiredError: it did not.
    """
    record = record_of(request.scope)
    if record.api_key is None:
        raise AdminRequiredError("this needs an admin key, and this server has no keys; start it with API_KEYS_FILE")
    if not record.is_admin:
        raise AdminRequiredError(f"this needs an admin key, and the key {record.api_key} is none; send an admin's")


AdminOnly = Depends(require_admin)
"""In a route's or a router's `dependencies`."""
