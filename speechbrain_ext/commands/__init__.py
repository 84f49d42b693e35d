"""The command `speechbrain-ext`: argparse only, one file a command; `main.main` is its entry point.

May import: all rooms.
"""
