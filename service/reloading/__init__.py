"""Hot reload: changes in the repository, load and unload on request."""
