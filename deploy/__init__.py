"""Container images: their build, and a test of the built image."""
