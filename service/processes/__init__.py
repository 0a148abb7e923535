"""Several processes that serve one port: supervisor and shared state.

Each process is a complete service with its own backends; the kernel distributes new connections among them
(SO_REUSEPORT). They share a directory of snapshots, so that each can report the counts of all.
"""
