"""Judges evidence.

How far an answer's tokens lie from the reference, held against honest traffic.
"""
