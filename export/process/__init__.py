"""Infrastructure of the commands: arguments, names, errors, signals, memory."""
