"""Write all golden files anew: `python -m tests.golden.regenerate`.

Run it after an intended change only, and review the difference.
"""

from tests.golden.ledger import regenerate as ledger
from tests.golden.noise import regenerate as noise


def main() -> None:
    """Write the golden files of every package."""
    ledger.main()
    noise.main()


if __name__ == "__main__":
    main()
