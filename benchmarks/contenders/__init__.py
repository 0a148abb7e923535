"""Compared servers that need an environment of their own, and the setup of these environments."""
