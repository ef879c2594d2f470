"""The page in a notebook's cell: the same script and style, with questions carried by the kernel's own connection.

Knows anywidget.  Knows no table and no server: nothing is opened on the network.
"""

from __future__ import annotations

import json

import anywidget
import traitlets

from parallax_lib.analysis.view import page_files
from parallax_lib.analysis.view.api import View
from parallax_lib.core.errors import UserError


class Page(anywidget.AnyWidget):
    """`Page(view=view, address="/scores")`; what a cell that ends with it shows.  address: which page, as after # in the browser."""

    _esm = page_files.script()
    _css = page_files.style()
    address = traitlets.Unicode("/programs").tag(sync=True)

    def __init__(self, view: View, address: str = "/programs"):
        super().__init__(address=address)
        self.view = view
        self.on_msg(self.asked)

    def asked(self, _widget: object, question: dict, _buffers: object = None) -> None:
        """Answer {"id", "path", "given", "body"} with {"id", "answer"} or {"id", "error"}; the answer is JSON as text."""
        try:
            found = self.view.answer(question["path"], question.get("given") or {}, question.get("body"))
            self.send({"id": question["id"], "answer": json.dumps(found, allow_nan=False)})
        except UserError as e:
            self.send({"id": question["id"], "error": str(e)})
