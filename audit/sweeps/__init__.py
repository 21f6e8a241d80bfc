"""Scheduled sweeps: probes of endpoints that claim a model, what they show, and how it changes."""
