"""Values of a client's request in error messages."""


def shown(value: object) -> str:
    """Return what a client sent as a message shows it: at most 200 characters of it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
