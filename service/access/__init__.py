"""Former address of `service.auth`: the command `python -m service.access.keys` keeps working."""
