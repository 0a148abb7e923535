"""The page at `/` and the API page at `/docs`: static files, and their routes."""
