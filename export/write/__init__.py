"""Writing: graphs as files, and what the manifest says of them."""
