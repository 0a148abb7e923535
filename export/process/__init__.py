"""Process of a command: arguments, names, errors, signals, memory."""
