"""Signed verdicts, byte for byte, and how they are made again."""
