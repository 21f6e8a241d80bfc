"""Changes of an endpoint over its runs, against its own frozen past."""
