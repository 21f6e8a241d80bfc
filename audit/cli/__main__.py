"""Makes `python -m audit.cli` the same as `inference-audit`."""

from audit.cli.root import main

main()
