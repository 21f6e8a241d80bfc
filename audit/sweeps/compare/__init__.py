"""Endpoints of one run held against each other."""
