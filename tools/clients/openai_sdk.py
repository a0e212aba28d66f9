"""OpenAI's own client against a server: pip install 'openai[realtime]', then
    python tools/clients/openai_sdk.py http://127.0.0.1:8000 samples/talk-a.flac
The server needs a target language (--to). A failure ends the script with an exception."""

import asyncio
import base64
import os
import subprocess
import sys

import openai

URL, FILE = sys.argv[1], sys.argv[2]
KEY = os.environ.get("ALIGNATT_TOKEN", "none-is-needed")


def files(client: openai.OpenAI) -> str:
    """All forms of the answer; returns the text."""
    talk = open(FILE, "rb").read()

    def ask(**more):
        return client.audio.transcriptions.create(file=("talk.flac", talk), model="any", **more)

    text = ask().text
    assert ask(response_format="text").strip() == text
    assert ask(response_format="srt").startswith("1\n00:") and ask(response_format="vtt").startswith("WEBVTT")
    verbose = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert " ".join(segment.text for segment in verbose.segments) == text
    assert " ".join(word.word for word in verbose.words) == text and verbose.duration > 1
    events = list(ask(stream=True))
    assert events[-1].type == "transcript.text.done" and events[-1].text == text
    assert "".join(event.delta for event in events[:-1]) == text
    translation = client.audio.translations.create(file=("talk.flac", talk), model="any")
    print("transcription:", text[:60], "| translation:", translation.text[:60])
    for wrong, error in [
        (lambda: ask(language="xx"), openai.BadRequestError),
        (lambda: client.audio.transcriptions.create(file=("a.txt", b"only text"), model="any"), openai.APIStatusError),
        (lambda: client.with_options(base_url=URL + "/v1/nowhere").models.list(), openai.NotFoundError),
    ]:
        try:
            wrong()
        except error as answer:
            print("refused:", type(answer).__name__, answer.status_code, answer.body["message"][:60])
        else:
            raise AssertionError("a wrong request was served")
    return text


def pcm() -> bytes:
    """The talk at 24 kHz."""
    command = ["ffmpeg", "-v", "error", "-i", FILE, "-f", "s16le", "-ac", "1", "-ar", "24000", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def parts(sound: bytes):
    return (base64.b64encode(sound[at : at + 9600]).decode() for at in range(0, len(sound), 9600))


async def translation(client: openai.AsyncOpenAI, sound: bytes) -> None:
    async with client.realtime.translations.connect(model="any") as connection:
        session = {"audio": {"output": {"language": "de"}, "input": {"transcription": {"model": "any"}}}}
        await connection.session.update(session=session)

        async def speak():
            for part in parts(sound):
                await connection.session.input_audio_buffer.append(audio=part)
            await connection.session.close()

        speaking = asyncio.create_task(speak())
        source, target = "", ""
        async for event in connection:
            if event.type == "session.output_transcript.delta":
                target += event.delta
            elif event.type == "session.input_transcript.delta":
                source += event.delta
            elif event.type == "error":
                raise AssertionError(event.error.message)
            elif event.type == "session.closed":
                break
        await speaking
        assert source and target
        print("realtime translation:", source[:60], "|", target[:60])


async def transcription(client: openai.AsyncOpenAI, sound: bytes, turn_detection) -> None:
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        audio = {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "any", "language": "en"},
            "turn_detection": turn_detection,
        }
        await connection.session.update(session={"type": "transcription", "audio": {"input": audio}})

        async def speak():
            for part in parts(sound + bytes(48000 * 4)):
                await connection.input_audio_buffer.append(audio=part)
            if turn_detection is None:
                await connection.input_audio_buffer.commit()

        speaking = asyncio.create_task(speak())
        deltas, whole, open_items = {}, {}, set()
        async for event in connection:
            if event.type == "input_audio_buffer.committed":
                open_items.add(event.item_id)
            elif event.type == "conversation.item.input_audio_transcription.delta":
                deltas[event.item_id] = deltas.get(event.item_id, "") + event.delta
            elif event.type == "conversation.item.input_audio_transcription.completed":
                whole[event.item_id] = event.transcript
                assert deltas.get(event.item_id, "") == event.transcript
                open_items.discard(event.item_id)
                if speaking.done() and not open_items:
                    break
            elif event.type == "error":
                raise AssertionError(event.error.message)
        await speaking
        print("realtime transcription:", len(whole), "items,", " ".join(whole.values())[:60])


async def realtime() -> None:
    client = openai.AsyncOpenAI(base_url=URL + "/v1", api_key=KEY)
    sound = pcm()
    await translation(client, sound)
    await transcription(client, sound, None)
    await transcription(client, sound, {"type": "server_vad", "silence_duration_ms": 1500})
    made = await client.realtime.translations.client_secrets.create(
        session={"model": "any", "audio": {"output": {"language": "de"}}}
    )
    page = openai.AsyncOpenAI(base_url=URL + "/v1", api_key=made.value)
    await translation(page, sound[: 48000 * 5])


files(openai.OpenAI(base_url=URL + "/v1", api_key=KEY))
asyncio.run(realtime())
