"""Quality against lag from the `report.json` files of `alignatt eval`: an SVG with a panel for each
language, and a markdown table.

  python3 tools/results/plot.py build/eval --svg docs/quality-lag.svg > table.md

A line is a policy (`hold-n:1` and `hold-n:3` share one), a point is one of its settings. Needs no
packages.
"""
import argparse
import json
import math
import pathlib
from xml.sax.saxutils import escape

NAMES = {"de": "English to German", "it": "English to Italian", "zh": "English to Chinese"}
COLOURS = ("#0b6e99", "#c8553d", "#4f8a3c", "#8a5aa8", "#b8860b", "#5b6770")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 330, 52, 16, 36, 48


def read(folder):
    reports = [json.loads(p.read_text()) for p in pathlib.Path(folder).rglob("report.json")]
    return sorted(reports, key=lambda r: (r["target_language"], r["policy"], r["chunk_ms"]))


def family(report):
    return report["policy"].partition(":")[0]


def families(reports):
    """Name -> points: reports with a label that names the settings in which they differ from the
    others of their line."""
    lines = {}
    for report in reports:
        lines.setdefault(family(report), []).append(report)
    for points in lines.values():
        several = [len({p[key] for p in points}) > 1 for key in ("policy", "chunk_ms")]
        for p in points:
            parts = (p["policy"].partition(":")[2] or p["policy"], f"{p['chunk_ms']} ms")
            p["label"] = " ".join(part for part, differs in zip(parts, several) if differs)
    return lines


def ticks(low, high, wanted=5):
    raw = (high - low) / wanted
    unit = 10 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def span(values, margin=0.08):
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * margin or 1
    return low - room, high + room


def text(x, y, what, anchor="middle", size=11, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{escape(what)}</text>'


def panel(reports, colours, lag, quality, left):
    xs, ys = span([r[lag] / 1000 for r in reports]), span([r[quality] for r in reports])
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(report):
        return (left + LEFT + (report[lag] / 1000 - xs[0]) / (xs[1] - xs[0]) * inner_w,
                TOP + (ys[1] - report[quality]) / (ys[1] - ys[0]) * inner_h)
    language = reports[0]["target_language"]
    out = [text(left + LEFT + inner_w / 2, TOP - 14, NAMES.get(language, language), size=13, more=' font-weight="bold"')]
    for tick in ticks(*xs):
        x = left + LEFT + (tick - xs[0]) / (xs[1] - xs[0]) * inner_w
        out += [f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{TOP + inner_h}" stroke="#e4e4e4"/>', text(x, TOP + inner_h + 15, f"{tick:g}")]
    for tick in ticks(*ys):
        y = TOP + (ys[1] - tick) / (ys[1] - ys[0]) * inner_h
        out += [f'<line x1="{left + LEFT}" y1="{y:.1f}" x2="{left + LEFT + inner_w}" y2="{y:.1f}" stroke="#e4e4e4"/>',
                text(left + LEFT - 6, y + 4, f"{tick:g}", "end")]
    out.append(text(left + LEFT + inner_w / 2, HEIGHT - 12, ("LongYAAL with computing, s" if "_ca_" in lag else "LongYAAL, s")))
    middle = TOP + inner_h / 2
    out.append(text(left + 14, middle, {"bleu": "BLEU", "chrf": "chrF"}[quality], more=f' transform="rotate(-90 {left + 14} {middle:.1f})"'))
    for name, points in families(reports).items():
        points = sorted(points, key=lambda r: r[lag])
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, points))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="1.6"/>')
        for report in points:
            x, y = at(report)
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colours[name]}"/>')
            near_right = x > left + LEFT + inner_w * 0.8
            out.append(text(x + (-6 if near_right else 6), y - 6, report["label"], "end" if near_right else "start", 9, f' fill="{colours[name]}"'))
    return out


def plot(reports, lag, quality):
    reports = [r for r in reports if r.get(lag) is not None and r.get(quality) is not None]
    if not reports:
        raise SystemExit("no report has both lag and quality: run `alignatt eval` again where python3 has sacrebleu")
    languages = sorted({r["target_language"] for r in reports})
    names = sorted({family(r) for r in reports})
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    width, height = WIDTH * len(languages), HEIGHT + 18 * len(names) + 8
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for i, language in enumerate(languages):
        out += panel([r for r in reports if r["target_language"] == language], colours, lag, quality, i * WIDTH)
    for i, name in enumerate(names):
        y = HEIGHT + 18 * i + 6
        out += [f'<line x1="{LEFT}" y1="{y}" x2="{LEFT + 24}" y2="{y}" stroke="{colours[name]}" stroke-width="2"/>', text(LEFT + 32, y + 4, name, "start")]
    return "\n".join(out + ["</svg>", ""])


def table(reports):
    def number(value, digits=0):
        return "-" if value is None else f"{value:.{digits}f}"
    out = ["| to | policy | chunk, ms | BLEU | chrF | LongYAAL, ms | with computing | LAAL, ms | with computing | RTF | drafted a unit |",
           "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for r in reports:
        cells = [r["target_language"], r["policy"], str(r["chunk_ms"]), number(r.get("bleu"), 1), number(r.get("chrf"), 1), number(r["long_yaal_ms"]),
                 number(r["long_yaal_ca_ms"]), number(r["laal_ms"]), number(r["laal_ca_ms"]), number(r["rtf"], 2), number(r["drafted_per_unit"], 2)]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("--svg")
    ap.add_argument("--quality", choices=("bleu", "chrf"), default="bleu")
    ap.add_argument("--ca", action="store_true", help="lag with computing time")
    a = ap.parse_args()
    reports = read(a.folder)
    if not reports:
        raise SystemExit(f"{a.folder} holds no report.json: run `alignatt eval` first")
    print(table(reports))
    if a.svg:
        pathlib.Path(a.svg).write_text(plot(reports, "long_yaal_ca_ms" if a.ca else "long_yaal_ms", a.quality))


if __name__ == "__main__":
    main()
