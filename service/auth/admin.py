"""Authorisation of admin routes.

    @router.post("/v2/repository/models/{name}/load", dependencies=[AdminOnly])

A route class that skips FastAPI's dependencies awaits `require_admin(request)` first.
"""

from fastapi import Depends, Request

from service.problems.client_errors import AdminRequiredError
from service.telemetry.record import record_of


async def require_admin(request: Request) -> None:
    """Check that the request has an admin key, which is impossible without a file of keys.

    Raises:
        AdminRequiredError: the request has no admin key.
    """
    record = record_of(request.scope)
    if record.api_key is None:
        raise AdminRequiredError("this needs an admin key, and this server has no keys; start it with API_KEYS_FILE")
    if not record.is_admin:
        raise AdminRequiredError(f"this needs an admin key, but the key {record.api_key} is not one; send an admin key")


AdminOnly = Depends(require_admin)
"""Entry for the `dependencies` of a route or router."""
