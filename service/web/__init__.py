"""The page at `/` and the API page at `/docs`: files that are served as they are, and their routes."""
