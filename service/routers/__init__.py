"""Routes. A new resource is a file in this folder and a line in ROUTERS."""

from service.protocol_v2.routes import ROUTERS as ROUTERS_V2
from service.routers import classify, compare, health, latency, members, metrics, models

ROUTERS = (
    *(classify.router, compare.router, models.direct, models.router, members.router, latency.router, metrics.router),
    health.router,
    *ROUTERS_V2,
)
