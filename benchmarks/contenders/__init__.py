"""Servers with separate requirements, each in its own environment, and the setup of these environments."""
