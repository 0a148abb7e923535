"""Writing: graphs as files, and their description for the manifest."""
