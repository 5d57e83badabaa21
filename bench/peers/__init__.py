"""Clients of other libraries, each a program of its own: HOST PORT FIRST COUNT WINDOW RECEIPTS, then exit status 0.

They run in a virtual environment of bench_peers.py, with the versions of requirements.txt and package.json.
"""
