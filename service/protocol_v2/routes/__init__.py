"""Routes of the protocol, one resource in each file."""

from service.protocol_v2.routes.infer import router as infer
from service.protocol_v2.routes.models import router as models
from service.protocol_v2.routes.repository import router as repository
from service.protocol_v2.routes.server import router as server
from service.protocol_v2.routes.stats import router as stats

# `/v2/models/stats` is registered before the path of a model, which would match it too.
ROUTERS = (server, stats, models, infer, repository)
