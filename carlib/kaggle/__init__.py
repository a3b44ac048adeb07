"""Kaggle from outside: package, push, wait, pull, chain, over the official client.

Nothing here runs inside a kernel, and nothing but ``worker`` imports the client.
"""
