"""Sphinx settings of the documentation (`make docs`): markdown, one theme, nothing from a network."""

project = "Parallax"
copyright = "the Parallax authors, MIT licence"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["README.md"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Parallax"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"footer_icons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"
