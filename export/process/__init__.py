"""The process of a command: its arguments and names, its errors, the signals that end it, the memory that it holds."""
