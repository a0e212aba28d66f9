#!/usr/bin/env python3
"""Tries WhisperLiveKit's own clients on a running server: its test client in both modes, as fast as
it can and at the speed of the talk, and its client of the MT protocol.

    python3 -m venv v && v/bin/pip install websockets && v/bin/pip install --no-deps whisperlivekit==0.2.26
    alignatt serve --to de &
    v/bin/python tools/clients/wlk.py samples/talk-b.flac alignatt [ws://127.0.0.1:8000]

It needs ffmpeg, which the test client reads files with."""

import asyncio
import difflib
import importlib.util
import json
import subprocess
import sys
import time
import types

# WhisperLiveKit's `__init__` needs torch. Its clients do not.
package = types.ModuleType("whisperlivekit")
package.__path__ = list(importlib.util.find_spec("whisperlivekit").submodule_search_locations)
sys.modules["whisperlivekit"] = package
from whisperlivekit import test_client  # noqa: E402
from whisperlivekit.timed_objects import ASRToken, HypothesisTail  # noqa: E402
from whisperlivekit.translation_alignatt import AlignAttRemoteEngine  # noqa: E402

talk, program = sys.argv[1:3]
url = sys.argv[3] if len(sys.argv) > 3 else "ws://127.0.0.1:8000"

lines = subprocess.run(
    [program, "transcribe", talk, "--format", "jsonl"], check=True, capture_output=True, text=True
).stdout.splitlines()
closed = [event for event in map(json.loads, lines) if event["type"] == "source" and event["closed"]]
words = [word for event in closed for word in event["committed"]]
expected = " ".join(word["text"] for word in words)


def check(what, holds):
    print(("ok  " if holds else "FAIL"), what, flush=True)
    check.failed |= not holds


check.failed = False

# In diff mode the client says how many lines it has rebuilt, and the server how many there are.
in_step = []
rebuild = test_client.reconstruct_state


def watched(message, lines):
    state = rebuild(message, lines)
    in_step.append(message.get("n_lines", len(lines)) == len(lines))
    return state


test_client.reconstruct_state = watched
for mode in ["full", "diff"]:
    for speed in [0, 1]:
        began = time.monotonic()
        result = asyncio.run(test_client.transcribe_audio(talk, f"{url}/asr", mode=mode, speed=speed))
        spent = time.monotonic() - began
        print(f"     {mode}, speed {speed}: {result.n_updates} updates in {spent:.1f} s, {len(result.lines)} lines")
        same = difflib.SequenceMatcher(None, result.text.split(), expected.split(), autojunk=False).ratio()
        # A computer that is too slow takes more than a chunk at a time, and hears other words.
        check(f"{mode}, speed {speed}: {same:.1%} of the words are those of transcribe", same > (0.95 if speed else 0.999))
        check(f"{mode}, speed {speed}: every line has a translation", all(l.get("translation") for l in result.lines))
check(f"diff: in step at each of {len(in_step)} messages", in_step and all(in_step))


def tokens_until(ms):
    return [w for w in words if w["end_ms"] <= ms], [w for w in words if ms < w["end_ms"] <= ms + 1000]


for latency in ["quality", "balanced", "low"]:
    engine = AlignAttRemoteEngine(url=f"{url}/mt", source_language="en", preset=None, latency=latency)
    client = engine.new_session("de")
    finals, partials, given, grew = [], 0, 0, True
    shown = ""
    for ms in range(0, words[-1]["end_ms"] + 1500, 500):
        committed, tail = tokens_until(ms)
        new = [ASRToken(w["start_ms"] / 1000, w["end_ms"] / 1000, " " + w["text"]) for w in committed[given:]]
        given = len(committed)
        client.insert_tokens(new)
        if tail:
            client.insert_tokens([HypothesisTail(end=ms / 1000, text=" ".join(w["text"] for w in tail))])
        final, buffer = client.process()
        if final is not None:
            grew &= final.text.startswith(shown)
            finals.append(final.text)
            shown = ""
        elif buffer.text:
            grew &= buffer.text.startswith(shown)
            partials += buffer.text != shown
            shown = buffer.text
    while client._pending_finals:
        final, _ = client.process()
        finals.append(final.text)
    print(f"     {latency}: {len(finals)} finals, {partials} partials")
    check(f"mt, {latency}: partials come before the ends, and only grow", partials > 0 and grew)
    check(f"mt, {latency}: a final for each sentence", len(finals) >= sum(w["text"][-1] in ".!?" for w in words))
    check(f"mt, {latency}: the connection was never lost", not client._down_warned and client._ws is not None)
sys.exit(check.failed)
