"""A picture of ratios, as SVG: a row for each operation, a dot for each distance."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import ceil, floor, log2
from typing import Final

_ROW: Final = 20
_NAMES: Final = 190
_PANEL: Final = 300
_GAP: Final = 44
_TOP: Final = 76
_COLOURS: Final = ("#1b9e77", "#7570b3", "#d95f02", "#e7298a", "#666666")


@dataclass(frozen=True)
class Panel:
    """One field of the picture.

    Args:
        title: what stands above it.
        ratios: row name -> a ratio for each series.
    """

    title: str
    ratios: dict[str, list[float]]


def picture(title: str, series: list[str], panels: list[Panel]) -> str:
    """Return a dot plot with a common logarithmic axis and a line at 1.

    Args:
        title: what stands above all.
        series: what each dot of a row stands for.
        panels: fields with the same rows, side by side.
    """
    everything = [ratio for panel in panels for row in panel.ratios.values() for ratio in row]
    low = min(-1, floor(log2(min(everything))))
    high = max(1, ceil(log2(max(everything))))
    rows = list(panels[0].ratios)
    bottom = _TOP + _ROW * len(rows)
    width = _NAMES + len(panels) * (_PANEL + _GAP)
    parts = [_text(12, 22, title, size=15, anchor="start")]
    for number, name in enumerate(series):
        x = _NAMES + number * 90
        parts += [_dot(x, 40, number, name), _text(x + 10, 44, name, anchor="start")]
    parts += [_text(_NAMES - 12, _row(n) + 4, row, anchor="end") for n, row in enumerate(rows)]
    for number, panel in enumerate(panels):
        left = _NAMES + number * (_PANEL + _GAP)
        parts += _field(panel, left, bottom, (low, high), series)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 30}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _field(
    panel: Panel, left: float, bottom: float, ends: tuple[int, int], series: list[str]
) -> list[str]:
    low, high = ends

    def across(power: float) -> float:
        return left + (power - low) / (high - low) * _PANEL

    parts = [_text(left + _PANEL / 2, _TOP - 12, panel.title)]
    for power in range(low, high + 1):
        x = across(power)
        stroke = "#333" if power == 0 else "#ddd"
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="{stroke}"/>')
        parts.append(_text(x, bottom + 16, f"{2.0**power:g}"))
    for row, (name, ratios) in enumerate(panel.ratios.items()):
        parts.append(f'<path d="M{left} {_row(row)}h{_PANEL}" stroke="#eee"/>')
        parts += [
            _dot(across(log2(ratio)), _row(row), number, f"{name}, {series[number]}: {ratio:.2f}")
            for number, ratio in enumerate(ratios)
        ]
    return parts


def _row(number: int) -> float:
    return _TOP + _ROW * (number + 0.5)


def _dot(x: float, y: float, series: int, hint: str) -> str:
    colour = _COLOURS[series % len(_COLOURS)]
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}" fill-opacity="0.85">'
        f"<title>{escape(hint)}</title></circle>"
    )


def _text(x: float, y: float, words: str, *, anchor: str = "middle", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(words)}</text>"
    )
