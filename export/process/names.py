"""Names of models and variants, which become directories."""

from pydantic import TypeAdapter, ValidationError

from artifact.parts.values import Name
from export.process.errors import ExportError

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_name(what: str, name: str) -> str:
    """Return a name that may become a directory, or say why it may not."""
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise ExportError(
            f"{name!r} cannot be a {what}'s name: use a-z, 0-9, '.', '_' and '-', a letter or digit first (--{what})"
        ) from error
