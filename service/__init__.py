"""Serves a repository of artifacts over HTTP. Knows neither torch nor how an artifact was made."""
