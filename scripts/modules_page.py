"""Writes the list of the library's modules: each with its first line, lowest layer first.

    python scripts/modules_page.py > docs/MODULES.md
"""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# The modules of `parallax_lib`

Made by `python scripts/modules_page.py`. Each module imports only from those above it in this table (`lint-imports` checks).

| module | what it is |
|---|---|
"""


def page() -> str:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    names = [name.strip() for layer in reversed(contract["layers"]) for name in layer.replace("|", ":").split(":")]
    return HEAD + "".join(f"| `{name}` | {first_line(ROOT / 'parallax_lib' / f'{name}.py')} |\n" for name in names)


def first_line(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())).splitlines()[0].replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
