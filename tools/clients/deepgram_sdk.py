"""Deepgram's own client against a server: pip install deepgram-sdk, then
    python tools/clients/deepgram_sdk.py 127.0.0.1:8000 samples/talk-a.flac
A failure ends the script with an exception."""

import os
import subprocess
import sys
import threading

from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

ADDRESS, FILE = sys.argv[1], sys.argv[2]
KEY = os.environ.get("ALIGNATT_TOKEN", "none-is-needed")
HTTP, WS = f"http://{ADDRESS}", f"ws://{ADDRESS}"
ENVIRONMENT = DeepgramClientEnvironment(base=HTTP, production=WS, agent=WS, agent_rest=HTTP)

command = ["ffmpeg", "-v", "error", "-i", FILE, "-f", "s16le", "-ac", "1", "-ar", "16000", "-"]
SOUND = subprocess.run(command, capture_output=True, check=True).stdout


def listen(sound: bytes, **options) -> list:
    client = DeepgramClient(api_key=KEY, environment=ENVIRONMENT)
    messages = []
    with client.listen.v1.connect(model="nova-3", **options) as connection:
        connection.on(EventType.MESSAGE, messages.append)
        reading = threading.Thread(target=connection.start_listening)
        reading.start()
        for at in range(0, len(sound), 6400):
            connection.send_media(sound[at : at + 6400])
        connection.send_keep_alive()
        connection.send_finalize()
        connection.send_close_stream()
        reading.join(timeout=300)
        assert not reading.is_alive()
    assert {type(message).__name__ for message in messages} <= {
        "ListenV1Results",
        "ListenV1Metadata",
        "ListenV1UtteranceEnd",
        "ListenV1SpeechStarted",
    }, messages
    return messages


def text(messages: list) -> str:
    finals = [message for message in messages if message.type == "Results" and message.is_final]
    return " ".join(message.channel.alternatives[0].transcript for message in finals).strip()


raw = {"encoding": "linear16", "sample_rate": 16000}
plain = listen(SOUND, **raw)
print("final:", text(plain)[:80], "|", plain[-1].duration, "s")
more = listen(
    SOUND,
    **raw,
    interim_results="true",
    endpointing=800,
    utterance_end_ms=1000,
    vad_events="true",
    request_options={"additional_query_parameters": {"translate": "de"}},
)
kinds = {message.type for message in more}
assert kinds == {"Metadata", "Results", "SpeechStarted", "UtteranceEnd"}, kinds
assert any(message.type == "Results" and message.speech_final for message in more)
last = [message for message in more if message.type == "Results" and message.is_final and message.channel.alternatives[0].words]
print("with everything:", text(more)[:80], "|", last[-1].channel.alternatives[0].translation)
print("a file as it is:", text(listen(open(FILE, "rb").read()))[:80])
