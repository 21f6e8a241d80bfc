"""Compliance reports over the verdict log: collected once, rendered many times."""
