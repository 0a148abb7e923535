"""Names of models and variants, which are names of directories."""

from pydantic import TypeAdapter, ValidationError

from artifact.parts.values import Name
from export.process.errors import ExportError

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_name(what: str, name: str) -> str:
    """Check that a name is valid for a directory, and return it. Raises ExportError."""
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise ExportError(
            f"{name!r} is not a valid {what} name: use a-z, 0-9, '.', '_' and '-', a letter or digit first (--{what})"
        ) from error
