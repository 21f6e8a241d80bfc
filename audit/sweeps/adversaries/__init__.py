"""Endpoints to try sweeps on: a real HTTP server around a reference, honest or not."""
