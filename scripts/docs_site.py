"""Builds the documentation as static pages that open without a network: `make docs`, then build/docs/index.html.

The pages of docs/ as they are, the reference from the code (settings, command line, every public function) and LOG.md.  A broken
link, an unknown reference or a page that no contents list names ends the build.
"""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import modules_page
from pydantic import BaseModel

from parallax_lib.__main__ import parser
from parallax_lib.core.settings import Params

ROOT = Path(__file__).resolve().parents[1]
SOURCE, SITE = ROOT / "build" / "docs-source", ROOT / "build" / "docs"
CONTENTS = "\n```{toctree}\n:hidden:\n\n%s\n```\n"


def sources() -> None:
    """Everything that Sphinx reads, made anew in SOURCE."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE)
    reference = SOURCE / "reference"
    reference.mkdir()
    (SOURCE / "LOG.md").write_text((ROOT / "LOG.md").read_text(encoding="utf-8"), encoding="utf-8")
    (SOURCE / "LIMITS.md").write_text(limits(), encoding="utf-8")
    (reference / "settings.md").write_text(settings(), encoding="utf-8")
    (reference / "command_line.md").write_text(command_line(), encoding="utf-8")
    roots = [modules_page.LIBRARY / name for name in modules_page.packages()]
    folders = [folder for root in roots for folder in (root, *modules_page.rooms(root))]
    for folder in folders:
        (reference / f"{page_name(folder)}.md").write_text(package(folder), encoding="utf-8")
    listed = CONTENTS % "\n".join(page_name(folder) for folder in folders)
    (reference / "packages.md").write_text((ROOT / "docs" / "MODULES.md").read_text(encoding="utf-8") + listed, encoding="utf-8")
    (SOURCE / "MODULES.md").unlink()


def limits() -> str:
    """The sections of docs/RESULTS.md that say what the study does not show, as a page of their own."""
    parts = dict(part.split("\n", 1) for part in (ROOT / "docs" / "RESULTS.md").read_text(encoding="utf-8").split("\n## ")[1:])
    head = "# Limits\n\nSections of [Results](RESULTS.md).\n"
    return "\n".join([head, *(f"## {name}\n{parts[name]}" for name in ("Read this first", "Not shown", "How sure is that"))])


def page_name(folder: Path) -> str:
    return folder.relative_to(modules_page.LIBRARY).as_posix().replace("/", "_")


# settings


def settings() -> str:
    """A table for each section: key, type, default and what stands beside it in the code."""
    said = "# Settings\n\nWhat a file in `params/` may hold, and `--set section.key=value` on the command line.\n"
    for name, field in Params.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            said += f"\n## {name}\n\n| key | type | default | what it is |\n|---|---|---|---|\n{''.join(map(row, fields(kind)))}"
        else:
            said += f"\n## {name}\n\n`{type_name(kind)}`, default `{field.default!r}`.\n"
    return said


def fields(section: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """(key, type with its bounds, default, comment) of every field, in order."""
    comments = {}
    for line in inspect.getsource(section).splitlines():
        if found := re.match(r"    (\w+): .*?(?:  # (.*))?$", line):
            comments[found[1]] = found[2] or ""
    rows = []
    for key, field in section.model_fields.items():
        known = [(mark, getattr(limit, name, None)) for limit in field.metadata for name, mark in BOUNDS.items()]
        bounds = [f"{mark} {value}" for mark, value in known if value is not None]
        rows.append((key, " ".join([type_name(field.annotation), *bounds]), repr(field.default), comments[key]))
    return rows


BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def type_name(kind: object) -> str:
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    return re.sub(r"typing\.|Annotated\[(\w+), .*?\](?=[,\]])", lambda m: m[1] or "", text)


def row(cells: tuple[str, str, str, str]) -> str:
    key, kind, default, comment = (text.replace("|", "\\|") for text in cells)
    return f"| `{key}` | `{kind}` | `{default}` | {prose(comment)} |\n"


# the command line


def command_line() -> str:
    """What `--help` says of every command."""
    said = ["# Command line\n\nEvery command begins with `.venv/bin/python -m parallax_lib`. `COMMAND --help` prints the same.\n"]
    top = parser()
    for name, command in top._subparsers._group_actions[0].choices.items():
        if name != "adapt":
            said.append(f"## {name}\n\n```text\n{command.format_help()}```\n")
    adapt = subprocess.run([sys.executable, "-m", "parallax_lib", "adapt", "--help"], capture_output=True, text=True, check=True, cwd=ROOT)
    return "\n".join([*said, f"## adapt\n\n```text\n{adapt.stdout}```\n"])


# packages


def package(folder: Path) -> str:
    """A package's page: each module with its docstring and its public functions and classes."""
    parts = [f"# {folder.relative_to(modules_page.LIBRARY).as_posix()}\n\n{prose(modules_page.docstring(folder / '__init__.py'))}\n"]
    for path in modules_page.modules(folder):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts.append(f"## `{path.stem}`\n\n{prose(ast.get_docstring(tree) or '')}\n")
        parts += [public(node) for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")]
    return "\n".join(parts)


def public(node: ast.FunctionDef | ast.ClassDef) -> str:
    """A function's or class's signature and docstring; of a class the fields and public methods too."""
    if isinstance(node, ast.FunctionDef):
        return f"```python\n{signature(node)}\n```\n\n{prose(ast.get_docstring(node) or '')}\n"
    inner = [ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)]
    inner += [signature(n) for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    head = f"class {node.name}({', '.join(map(ast.unparse, node.bases))}):".replace("()", "")
    return f"```python\n{head}\n" + "".join(f"    {line}\n" for line in inner) + f"```\n\n{prose(ast.get_docstring(node) or '')}\n"


def signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    one = f"def {node.name}({ast.unparse(node.args)}){returns}"
    if len(one) <= 100:
        return one
    return f"def {node.name}(\n    " + re.sub(r", (?=\*|\w+(?::|=|,|$))", ",\n    ", ast.unparse(node.args)) + f",\n){returns}"


def prose(text: str) -> str:
    """Docstring as markdown: an indented block is code, and outside of code no character is markup."""
    lines, out = text.splitlines(), []
    for line in lines:
        if line.startswith("    "):
            out.append(line)
        else:
            parts = re.split(r"(`[^`]*`)", line)
            out.append("".join(part if part[:1] == "`" != part else re.sub(r"([\\<>*_\[\]{}$#])", r"\\\1", part) for part in parts))
    return "\n".join(out)


if __name__ == "__main__":
    sources()
    shutil.rmtree(SITE, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(SOURCE), str(SITE)])
    if done.returncode:
        sys.exit("docs: not built; mend what is named above")
    print(f"docs: {len(list(SITE.rglob('*.html')))} pages, open {SITE / 'index.html'}")
