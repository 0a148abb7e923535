"""The routes. A new resource is a file beside this one and a line in ROUTERS."""

from service.routers import classify, health, latency, metrics, models

ROUTERS = (classify.router, models.router, latency.router, metrics.router, health.router)
