"""Generated files of every kind that a client may send, with the expected pixels or the reason of the refusal."""
