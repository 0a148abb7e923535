"""HTTP transport below the routes: connection guard, request middleware, logs, CORS, root path, documentation pages."""
