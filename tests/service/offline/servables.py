"""The only artifact of a repository, loaded."""

from artifact import scan
from service.catalogue import Servable
from service.loading import Loader
from service.settings import Settings


def servable_of(settings: Settings) -> Servable:
    (location,) = scan(settings.repository)
    return Loader(settings).open(location)
