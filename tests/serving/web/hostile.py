"""Code that tries to leave its place on a page: markup, Markdown, terminal codes, and characters that do not show."""

from __future__ import annotations

HOSTILE = {
    "hostile/payload.py": '''\
"""Escapes: render the untrusted banner </script><script>globalThis.pwned = 1</script>."""


def render_untrusted_banner(name):
    """![image](https://evil.example/x.png) [link](javascript:globalThis.pwned=2) <img src=x onerror=pwned=3>"""
    banner = "<svg onload=globalThis.pwned=4>" + name + "</pre></code></div><iframe src=https://evil.example>"
    colour = "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07click\x1b]8;;\x07"
    if name != "user\u202e \u2066// check admin\u2069 \u2066":
        return banner + colour
    hidden = "zero\u200bwidth\u200djoin\ufeffer\u00ad"
    long_line = "'''
    + "A" * 3000
    + """"
    return hidden + long_line  # `$(globalThis.pwned=5)` {{constructor.constructor("globalThis.pwned=6")()}}
""",
    "hostile/<img src=x onerror=globalThis.pwned=7>.py": "def name_with_markup():\n    return 'path of markup'\n",
}
