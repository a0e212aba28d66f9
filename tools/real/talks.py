#!/usr/bin/env python3
"""Makes a manifest of texts for `alignatt eval` from segments of talks in several languages.

    tools/real/talks.py FOLDER OUT [--talks N]

FOLDER has `audio-segments.yaml` (one `{duration, offset, wav}` a line, in seconds) and `en.txt`,
`de.txt`, `it.txt`, `zh.txt` with a line for each segment. OUT gets `manifest.jsonl` and, for each
talk, its English words as JSON lines. A word has its share of its segment's time, by its letters.
"""

import argparse
import json
import pathlib
import re


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--talks", type=int, help="use only the first N talks")
    args = parser.parse_args()

    texts = {code: lines(args.folder / f"{code}.txt") for code in ("en", "de", "it", "zh")}
    talks: dict[str, list[dict]] = {}
    for at, line in enumerate(lines(args.folder / "audio-segments.yaml")):
        start = float(field(line, "offset"))
        segment = {"start_ms": round(1000 * start), "end_ms": round(1000 * (start + float(field(line, "duration"))))}
        segment |= {code: unquoted(text[at].strip()) for code, text in texts.items()}
        talks.setdefault(field(line, "wav"), []).append(segment)

    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "manifest.jsonl", "w", encoding="utf-8") as manifest:
        for name, sentences in list(talks.items())[: args.talks]:
            file = f"{pathlib.Path(name).stem}.jsonl"
            with open(args.out / file, "w", encoding="utf-8") as out:
                for sentence in sentences:
                    out.writelines(json.dumps(word, ensure_ascii=False) + "\n" for word in words(sentence))
            print(json.dumps({"text": file, "sentences": sentences}, ensure_ascii=False), file=manifest)


def lines(path: pathlib.Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def unquoted(text: str) -> str:
    """A text that was cut from a table may still have the table's quotes, whole or in part."""
    if '""' not in text:
        return text
    return text.removeprefix('"').replace('""', '"')


def field(line: str, name: str) -> str:
    found = re.search(rf"\b{name}: *'?([^,'}}]+)", line)
    if not found:
        raise SystemExit(f"a segment without `{name}`: {line}")
    return found.group(1).strip()


def words(sentence: dict) -> list[dict]:
    texts = sentence["en"].split()
    letters = sum(map(len, texts)) or 1
    span = sentence["end_ms"] - sentence["start_ms"]
    timed, before = [], 0
    for text in texts:
        start = sentence["start_ms"] + span * before // letters
        before += len(text)
        timed.append({"text": text, "start_ms": start, "end_ms": sentence["start_ms"] + span * before // letters})
    return timed


if __name__ == "__main__":
    main()
