"""Several processes that serve one port: a supervisor, and what its processes share.

Each process is a whole service with its own backends; the kernel gives each new connection to one of them
(SO_REUSEPORT). They share a directory of snapshots, so that any of them can answer for all.
"""
