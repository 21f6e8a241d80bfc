"""Version 1 of the service's messages; written by `scripts/generate_protos.py`."""
