"""Generated files of every kind that a client may send, with their pixels, or why they are refused."""
