"""Bodies of requests: their encoding and form, the file of the image; and how `imaging` reads it here."""
