"""Values of a client's request in error messages."""


def shown(value: object) -> str:
    """Return a value for a message, in at most 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
