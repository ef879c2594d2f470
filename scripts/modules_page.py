"""Writes the list of the library's packages and modules: each with its first line, lowest layer first.

    python scripts/modules_page.py > docs/MODULES.md
    python scripts/modules_page.py --count      # modules, lines and public names of each package
"""

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "parallax_lib"
HEAD = """# The packages of `parallax_lib`

Made by `python scripts/modules_page.py`. A package imports only from the packages above it on this page (`lint-imports` checks).
"""


def page() -> str:
    folders = [folder for name in packages() for folder in (LIBRARY / name, *rooms(LIBRARY / name))]
    return HEAD + "".join(map(section, folders)) + section(LIBRARY, "The command line")


def packages() -> list[str]:
    """Names of the ten packages, lowest layer first."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    return [name for name in reversed(contract["layers"]) if (LIBRARY / name).is_dir()]


def rooms(folder: Path) -> list[Path]:
    """Packages inside a package."""
    return sorted(path.parent for path in folder.glob("*/__init__.py"))


def section(folder: Path, title: str = "") -> str:
    rows = "".join(f"| `{path.stem}` | {summary(path).replace('|', chr(92) + '|')} |\n" for path in modules(folder))
    head = f"## {title}" if title else f"## {folder.relative_to(LIBRARY).as_posix()}\n{docstring(folder / '__init__.py')}"
    return f"\n{head}\n\n| module | what it is |\n|---|---|\n{rows}"


def modules(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", "__main__")]


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text()))


def summary(path: Path) -> str:
    """The first paragraph of a module's docstring on one line."""
    return " ".join(docstring(path).split("\n\n")[0].split())


def count() -> str:
    lines = [f"{'package':16} {'modules':>7} {'lines':>6} {'public names':>12}"]
    for name in packages():
        files = [path for path in (LIBRARY / name).rglob("*.py") if path.stem != "__init__"]
        size, names = sum(len(path.read_text().splitlines()) for path in files), sum(map(public_names, files))
        lines.append(f"{name:16} {len(files):7} {size:6} {names:12}")
    return "\n".join(lines)


def public_names(path: Path) -> int:
    """Functions and classes of a module whose name has no leading underscore."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return sum(isinstance(node, kinds) and not node.name.startswith("_") for node in ast.parse(path.read_text()).body)


if __name__ == "__main__":
    print(count() if "--count" in sys.argv[1:] else page(), end="\n" if "--count" in sys.argv[1:] else "")
