"""Tests of what reads and checks untrusted data."""
