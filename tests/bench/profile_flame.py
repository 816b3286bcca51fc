"""Stacks as a picture: an SVG in which width is time, the callers on top, what they call below.

It needs no server and no network: a click on a frame shows it over the whole width, a click on the first line all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Final

from tests.bench.profile_stacks import GUEST, Frame, Stack

WIDTH: Final = 1200
ROW: Final = 17
TOP: Final = 58
LETTER: Final = 6.7  # one of the 11 px typeface
NARROWEST: Final = 0.4  # px: less is left out

COLOURS: Final = {"python": "#f4b860", "native": "#9db8d9", "guest": "#9bcf95", "every": "#dddddd"}

STYLE: Final = """
text { font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, monospace; fill: #1a1a1a; pointer-events: none }
.title { font-size: 14px; font-weight: bold } rect { stroke: #fff; stroke-width: .5 } g:hover rect { stroke: #000 }
.background { fill: #fff }
"""

SCRIPT: Final = """
const frames = [...document.querySelectorAll('g[data-x]')], wide = %(width)d, letter = %(letter)s;
function fit(text, room) {
  const most = Math.floor((room - 4) / letter);
  return most < 3 ? '' : text.length <= most ? text : text.slice(0, most - 1) + '\\u2026';
}
function show(of) {
  const x = +of.dataset.x, w = +of.dataset.w, scale = wide / w;
  for (const g of frames) {
    const gx = +g.dataset.x, gw = +g.dataset.w, seen = gx < x + w - 1e-6 && gx + gw > x + 1e-6;
    g.style.display = seen ? '' : 'none';
    if (!seen) continue;
    const left = Math.max(0, (gx - x) * scale), room = Math.min(wide, (gx + gw - x) * scale) - left;
    const rect = g.querySelector('rect'), text = g.querySelector('text');
    rect.setAttribute('x', left); rect.setAttribute('width', room);
    text.setAttribute('x', left + 3); text.textContent = fit(g.dataset.name, room);
  }
}
for (const g of frames) g.addEventListener('click', () => show(g));
"""


@dataclass
class _Node:
    frame: Frame
    count: int = 0
    below: dict[tuple[str, str], _Node] = field(default_factory=dict[tuple[str, str], "_Node"])


@dataclass(frozen=True)
class _Box:
    node: _Node
    x: float
    width: float
    depth: int


def flame(title: str, stacks: list[Stack]) -> str:
    """The picture."""
    root = _tree(stacks)
    boxes = list(_boxes(root))
    height = TOP + ROW * (max(box.depth for box in boxes) + 1) + 10
    drawn = "".join(_drawn(box, root.count) for box in boxes)
    script = SCRIPT % {"width": WIDTH, "letter": LETTER}
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f'<style>{STYLE}</style><rect class="background" width="{WIDTH}" height="{height}"/>'
        f'<text class="title" x="3" y="20">{escape(title)}</text>{_legend()}{drawn}'
        f"<script><![CDATA[{script}]]></script></svg>\n"
    )


def _tree(stacks: list[Stack]) -> _Node:
    root = _Node(Frame("all", ""))
    for stack in stacks:
        root.count += stack.count
        node = root
        for frame in stack.frames:
            node = node.below.setdefault((frame.name, frame.file), _Node(frame))
            node.count += stack.count
    return root


def _boxes(root: _Node) -> Iterator[_Box]:
    open_boxes = [_Box(root, 0.0, float(WIDTH), 0)]
    while open_boxes:
        box = open_boxes.pop()
        yield box
        x = box.x
        for node in sorted(box.node.below.values(), key=lambda one: (one.frame.name, one.frame.file)):
            width = WIDTH * node.count / (root.count or 1)
            if width >= NARROWEST:
                open_boxes.append(_Box(node, x, width, box.depth + 1))
            x += width


def _drawn(box: _Box, every: int) -> str:
    frame, y = box.node.frame, TOP + ROW * box.depth
    name = escape(frame.name, quote=True)
    share = f"{box.node.count} samples, {100 * box.node.count / (every or 1):.1f} %"
    return (
        f'<g data-x="{box.x:.3f}" data-w="{box.width:.3f}" data-name="{name}">'
        f"<title>{name} ({escape(frame.file)}): {share}</title>"
        f'<rect x="{box.x:.3f}" y="{y}" width="{box.width:.3f}" height="{ROW - 1}" fill="{_colour(box)}"/>'
        f'<text x="{box.x + 3:.3f}" y="{y + 12}">{escape(_fitted(frame.name, box.width))}</text></g>\n'
    )


def _colour(box: _Box) -> str:
    frame = box.node.frame
    if box.depth == 0:
        return COLOURS["every"]
    return COLOURS["guest" if frame.name == GUEST else "python" if frame.python else "native"]


def _fitted(name: str, width: float) -> str:
    most = int((width - 4) / LETTER)
    if most < 3:
        return ""
    return name if len(name) <= most else name[: most - 1] + "…"


def _legend() -> str:
    words = (("python", "Python"), ("native", "native code"), ("guest", "the guest, or code without a name"))
    parts: list[str] = []
    x = 3
    for kind, text in words:
        parts.append(f'<rect x="{x}" y="32" width="11" height="11" fill="{COLOURS[kind]}"/>')
        parts.append(f'<text x="{x + 16}" y="42">{text}</text>')
        x += 40 + int(len(text) * LETTER)
    parts.append(
        f'<text x="{x}" y="42">width: time. A click on a frame enlarges it, on the first line shows all</text>'
    )
    return "".join(parts)
