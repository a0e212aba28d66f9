"""Draws the live view of the terminal at one moment of a real run:

  python3 tools/results/terminal.py --at 26 target/debug/alignatt docs/images/terminal.svg

Plays samples/talk-a.flac into German in real time on the CPU and reads what the program prints.
"""
import argparse
import fcntl
import html
import os
import pty
import re
import select
import struct
import termios
import time

COLUMNS, LINES = 92, 18
CELL, LINE, MARGIN = 8.43, 20, 14
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
COLOURS = {"bright": "#e8e8ea", "dim": "#84848e", "reverse": "#16161a", "plain": "#c8c8cc"}
PAPER = "#16161a"
# The live view's output: move to a place, change the look, clear to the end of the line, text.
PART = re.compile(r"\x1b\[(\d+);(\d+)H|\x1b\[(\d*)m|\x1b\[K|\x1b\[[?0-9;]*[a-zA-Z]|([^\x1b]+)", re.S)
LOOKS = {"": "plain", "0": "plain", "1": "bright", "2": "dim", "7": "reverse"}


def played(program, seconds):
    """The output of the program in its first `seconds`."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(program, [program, "translate", "samples/talk-a.flac", "--to", "de", "--realtime", "--device", "cpu"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    printed, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.05)[0]:
            printed += os.read(terminal, 65536)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return printed.decode("utf-8", "ignore")


def screen(printed):
    """The cells of the screen, each a character and its look."""
    cells = [[(" ", "plain")] * COLUMNS for _ in range(LINES)]
    row, column, look = 0, 0, "plain"
    for part in PART.finditer(printed):
        if part[1]:
            row, column = int(part[1]) - 1, int(part[2]) - 1
        elif part[3] is not None:
            look = LOOKS.get(part[3], look)
        elif part[0] == "\x1b[K":
            cells[row][column:] = [(" ", "plain")] * (COLUMNS - column)
        elif part[4]:
            for character in part[4].replace("\r", "").replace("\n", ""):
                if row < LINES and column < COLUMNS:
                    cells[row][column] = (character, look)
                column += 1
    return cells


def runs(line):
    """Where each run of cells with the same look begins, the look, and its text."""
    start = 0
    for at in range(1, len(line) + 1):
        if at == len(line) or line[at][1] != line[start][1]:
            yield start, line[start][1], "".join(character for character, _ in line[start:at])
            start = at


def svg(cells):
    width, height = round(COLUMNS * CELL + 2 * MARGIN), LINES * LINE + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        "<title>alignatt in a terminal: English speech above, its German translation below</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>',
        f'<g font-family="{FONT}" font-size="14">',
    ]
    for row, line in enumerate(cells):
        base = MARGIN + row * LINE + 15
        for start, look, text in runs(line):
            x = MARGIN + start * CELL
            if look == "reverse":
                box = f'x="{x:.1f}" y="{base - 15}" width="{len(text) * CELL:.1f}" height="{LINE}"'
                out.append(f'<rect {box} fill="{COLOURS["plain"]}"/>')
            shown = text.strip().replace(" ", "\u00a0")  # SVG collapses two blanks into one
            if not shown:
                continue
            x += (len(text) - len(text.lstrip())) * CELL
            weight = ' font-weight="bold"' if look == "bright" else ""
            length = f'textLength="{len(shown) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'
            out.append(f'<text x="{x:.1f}" y="{base}" {length} fill="{COLOURS[look]}"{weight}>{html.escape(shown)}</text>')
    return "\n".join(out + ["</g>", "</svg>", ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", type=float, default=26, help="seconds after the start of the program")
    parser.add_argument("program")
    parser.add_argument("picture")
    args = parser.parse_args()
    with open(args.picture, "w", encoding="utf-8") as picture:
        picture.write(svg(screen(played(os.path.abspath(args.program), args.at))))
