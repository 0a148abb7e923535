"""The only artifact of a repository: its location, and the loaded servable."""

from pathlib import Path

from artifact import Location, scan
from service.catalogue.catalogue import Servable
from service.catalogue.loading import Loader
from service.settings import Settings


def location_of(repository: Path) -> Location:
    (location,) = scan(repository)
    return location


def servable_of(settings: Settings) -> Servable:
    return Loader(settings).open(location_of(settings.repository))
