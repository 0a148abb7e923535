"""The only artifact of a repository, loaded."""

from artifact import scan
from service.catalogue.catalogue import Servable
from service.catalogue.loading import Loader
from service.settings import Settings


def servable_of(settings: Settings) -> Servable:
    (location,) = scan(settings.repository)
    return Loader(settings).open(location)
