"""The process of a command: its arguments, the signals that end it, the memory that it holds."""
