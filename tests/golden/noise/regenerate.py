"""Write the golden noise and evidence anew; run it through `python -m tests.golden.regenerate`."""

import json

from tests.golden.noise.vectors import FOLDER, golden_files


def main() -> None:
    """Write all files."""
    for name, content in golden_files().items():
        text = json.dumps(content, indent=None, separators=(",", ":"))
        (FOLDER / name).write_text(text.replace("],", "],\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
