"""Servers with requirements of their own, each in an environment of its own, and how that is made."""
