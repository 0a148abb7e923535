"""Keeping what is served like what is in the repository, while it is being served."""
