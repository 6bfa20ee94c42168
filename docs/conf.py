"""How Sphinx builds the site. Pages are plain Markdown, so that they outlive the tool."""

from __future__ import annotations

import os

# The twin of the C type says in its docstring what holds for both.
os.environ["PROXYSTORE_PURE_PYTHON"] = "1"

project = "ProxyStore data plane"
copyright = "The ProxyStore data plane authors"
html_title = "ProxyStore data plane"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# A single backtick in a docstring is code, as everywhere else in this repository.
default_role = "code"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Attributes as plain fields: as objects they would be described twice.
napoleon_use_ivar = True
python_use_unqualified_type_names = True
# Names of others have no page here and the build works offline, so only ours are checked.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!proxystore|taps).*"),
    (r"py:.*", r".*\._\w+(\..*)?"),
    (r"py:.*", r"proxystore\.store\.(reference|types)\..*"),
    (r"py:.*", r".*\.\w*T(_co|_contra)?$"),
]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b6e6e",
        "color-brand-content": "#0b6e6e",
        "font-stack": "Inter, system-ui, -apple-system, 'Segoe UI', sans-serif",
        "font-stack--monospace": "'JetBrains Mono', 'SF Mono', Menlo, Consolas, monospace",
    },
    "dark_css_variables": {"color-brand-primary": "#5cc8c2", "color-brand-content": "#5cc8c2"},
    "navigation_with_keys": True,
}
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
