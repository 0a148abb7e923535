"""Errors of the service and their rendering as HTTP responses."""
