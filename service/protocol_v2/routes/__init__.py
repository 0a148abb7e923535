"""Routes of the protocol, one resource in each file."""

from service.protocol_v2.routes.infer import router as infer
from service.protocol_v2.routes.models import router as models
from service.protocol_v2.routes.repository import router as repository
from service.protocol_v2.routes.server import router as server
from service.protocol_v2.routes.stats import router as stats

# `/v2/models/stats` comes before the address of a model, which it also looks like.
ROUTERS = (server, stats, models, infer, repository)
