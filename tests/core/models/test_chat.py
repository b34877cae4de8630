"""Chat streams recorded from vLLM, replayed over real sockets: exact text, and the right end state in every case."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import openai
import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.models.chat import ChatModel, ChatStream, End, Limits
from codeintel_core.models.failures import EndpointFailed
from tests.core.models.conftest import Serve, endpoint, use
from tests.fake_endpoint import FakeEndpoint, Reply, completion, recorded, said, stream_bytes, streamed
from tests.serving.running import until

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "What does add do?"}]
RECORDED = {
    "chat-stream": (End.LENGTH, "onlyInvalidct\ufffdodype(\nonlyf bu __"),
    "chat-stream-usage": (End.LENGTH, "onlyInvalidct\ufffdodype(\nonlyf bu __"),
    "chat-stream-engine-killed": (End.ERROR_FRAME, "only\x12caE"),
    "chat-stream-client-abort": (End.TRUNCATED, "onlyInvalid"),
    "chat-stream-unicode": (End.COMPLETE, None),
}


def limits(first: float = 10.0, total: float = 20.0, idle: float = 10.0) -> Limits:
    return Limits(Deadline.after(first), Deadline.after(total), idle)


def read(fake: FakeEndpoint, within: Limits | None = None) -> tuple[str, ChatStream]:
    chat = ChatModel(endpoint(fake, attempts=1))
    stream = chat.stream(MESSAGES, max_tokens=12, limits=within or limits())

    async def work() -> str:
        async with aclosing(stream.texts()) as texts:
            return "".join([text async for text in texts])

    return use(chat.endpoint, work), stream


def as_openai(fake: FakeEndpoint) -> str:
    with openai.OpenAI(base_url=fake.url, api_key="x", max_retries=0, timeout=10) as client:
        stream = client.chat.completions.create(model="tiny-chat", messages=MESSAGES, stream=True)  # type: ignore[call-overload]
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("size", [1 << 20, 1, 7])
def test_recorded_streams(serve: Serve, name: str, size: int) -> None:
    text, stream = read(serve({PATH: streamed(stream_bytes(name), size=size)}))
    end, expected = RECORDED[name]
    assert stream.end is end
    assert stream.model == "tiny-chat"
    if expected is not None:
        assert text == expected


@pytest.mark.parametrize("name", ["chat-stream", "chat-stream-usage", "chat-stream-unicode"])
def test_openai_reads_the_same_from_our_endpoint(serve: Serve, name: str) -> None:
    fake = serve({PATH: streamed(stream_bytes(name))})
    assert as_openai(fake) == read(fake)[0]


def test_openai_takes_a_truncated_stream_for_a_whole_one_and_we_do_not(serve: Serve) -> None:
    fake = serve({PATH: streamed(completion(["half an ans"], finish=None, done=False))})
    assert as_openai(fake) == "half an ans"
    assert read(fake)[1].end is End.TRUNCATED


def test_openai_reads_our_errors(serve: Serve) -> None:
    fake = serve({PATH: recorded("chat-wrong-model")})
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        as_openai(fake)


def test_usage_is_the_servers(serve: Serve) -> None:
    _, stream = read(serve({PATH: streamed(stream_bytes("chat-stream-usage"))}))
    assert (stream.tokens_in, stream.tokens_out) == (40, 12)
    body = serve({}).requests
    assert body == []


def test_what_is_asked(serve: Serve) -> None:
    fake = serve({PATH: streamed(completion(["x"]))})
    read(fake)
    body = fake.requests[0].body
    assert body["stream_options"] == {"include_usage": True}
    assert (body["model"], body["messages"], body["max_tokens"], body["stream"]) == ("tiny-chat", MESSAGES, 12, True)


@pytest.mark.parametrize(
    ("data", "end", "reason"),
    [
        (completion(["a"], finish=None), End.TRUNCATED, "no finish_reason"),
        (completion([], finish=None), End.TRUNCATED, "no finish_reason"),
        (completion(["a"], finish="abort"), End.TRUNCATED, "'abort'"),
        (completion(["a"], done=False), End.COMPLETE, ""),
        (completion(["a"]) + b"data: after the end\n\n", End.COMPLETE, ""),
        (b"data: {broken\n\n", End.ERROR_FRAME, "not JSON"),
        (b'data: {"error": "out of memory"}\n\ndata: [DONE]\n\n', End.ERROR_FRAME, "out of memory"),
        (b"<html>a page of a proxy</html>", End.TRUNCATED, "no finish_reason"),
        (b"data: " + b"x" * (3 << 20), End.TRUNCATED, "larger than"),
    ],
)
def test_end_states(serve: Serve, data: bytes, end: End, reason: str) -> None:
    _, stream = read(serve({PATH: streamed(data)}))
    assert stream.end is end
    assert reason in stream.reason


def test_a_connection_that_breaks_is_truncated(serve: Serve) -> None:
    text, stream = read(serve({PATH: streamed(completion(["a", "b"], finish=None, done=False), is_cut=True)}))
    assert (text, stream.end) == ("ab", End.TRUNCATED)
    assert "connection broke" in stream.reason


def test_unicode_separators_cut_no_frame(serve: Serve) -> None:
    said_it = "line\u2028separator \u0085 next \U0001f680"
    assert read(serve({PATH: streamed(completion([said_it]), size=3)}))[0] == said_it


def test_other_choices_and_reasoning_are_not_the_answer(serve: Serve) -> None:
    frames = [
        {"choices": [{"index": 1, "delta": {"content": "no"}}]},
        {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}]},
    ]
    data = b"".join(f"data: {json.dumps(frame)}\n\n".encode() for frame in frames)
    assert read(serve({PATH: streamed(data)}))[0] == "yes"


def test_keep_alives_do_not_count_as_tokens(serve: Serve) -> None:
    fake = serve({PATH: streamed(b": keep-alive\n\n" * 1_000, size=14, pause_s=0.02)})
    text, stream = read(fake, limits(first=0.3))
    assert (text, stream.end, stream.reason) == ("", End.TIMED_OUT, "no first token in time")
    until(lambda: fake.left_early)  # it sees the end of the connection a little later
    assert fake.left_early == 1


def test_one_byte_at_a_time_ends_at_the_deadline(serve: Serve) -> None:
    fake = serve({PATH: streamed(stream_bytes("chat-stream"), size=1, pause_s=1.0)})
    assert read(fake, limits(first=0.3))[1].end is End.TIMED_OUT


def test_a_pause_between_tokens_and_an_endless_answer_time_out(serve: Serve) -> None:
    some = completion(["a"], finish=None, done=False)
    _, stream = read(serve({PATH: streamed(some, hangs=True)}), limits(idle=0.2))
    assert (stream.end, stream.reason) == (End.TIMED_OUT, "no token came for too long")
    endless = serve({PATH: streamed(some * 1_000, size=len(some), pause_s=0.02)})
    _, stream = read(endless, limits(total=0.4))
    assert (stream.end, stream.reason) == (End.TIMED_OUT, "the answer was not finished in time")


def test_errors_before_the_first_byte_are_raised(serve: Serve) -> None:
    for name, status in (("chat-503-queue-full", 503), ("embed-no-key", 401), ("chat-wrong-model", 404)):
        with pytest.raises(EndpointFailed) as caught:
            read(serve({PATH: recorded(name)}))
        assert caught.value.status == status


def test_an_endpoint_that_never_answers(serve: Serve) -> None:
    fake = FakeEndpoint({})
    with fake:
        fake.routes[PATH] = lambda _: Reply(200, [], hangs=True)
        _, stream = read(fake, limits(first=0.2))
        assert stream.end is End.TIMED_OUT
    with pytest.raises((EndpointFailed, DeadlineExceeded)):
        read(fake, limits(first=0.2))


def test_leaving_and_cancelling_stop_the_generation(serve: Serve) -> None:
    fake = serve({PATH: streamed(completion(["a"], finish=None, done=False), hangs=True)})
    chat = ChatModel(endpoint(fake))

    async def leave() -> ChatStream:
        stream = chat.stream(MESSAGES, max_tokens=5, limits=limits())
        async with aclosing(stream.texts()) as texts:
            async for _ in texts:
                break
        return stream

    async def cancel() -> ChatStream:
        stream, got = chat.stream(MESSAGES, max_tokens=5, limits=limits()), asyncio.Event()

        async def consume() -> None:
            async with aclosing(stream.texts()) as texts:
                async for _ in texts:
                    got.set()

        task = asyncio.create_task(consume())
        await got.wait()
        task.cancel()
        await asyncio.wait([task])
        return stream

    async def both() -> list[ChatStream]:
        streams = [await leave(), await cancel()]
        while fake.left_early < 2:
            await asyncio.sleep(0.005)
        return streams

    assert [stream.end for stream in use(chat.endpoint, both)] == [End.CANCELLED, End.CANCELLED]


def test_silent_streams_open_the_breaker(serve: Serve) -> None:
    fake = serve({PATH: streamed(b"", hangs=True)})
    chat = ChatModel(endpoint(fake, breaker_failures=1))

    async def work() -> None:
        stream = chat.stream(MESSAGES, max_tokens=5, limits=limits(first=0.3))
        assert [text async for text in stream.texts()] == []
        with pytest.raises(EndpointFailed, match="left alone"):
            [text async for text in chat.stream(MESSAGES, max_tokens=5, limits=limits()).texts()]

    use(chat.endpoint, work)


def test_the_models_own_limit_and_tokens(serve: Serve) -> None:
    fake = serve({"/v1/models": recorded("models-chat"), "/tokenize": recorded("tokenize-chat")})
    chat = ChatModel(endpoint(fake))

    async def work() -> tuple[int, int, int | None]:
        return (
            await chat.max_model_len(Deadline.after(10)),
            await chat.max_model_len(Deadline.after(10)),
            await chat.count_tokens(MESSAGES, Deadline.after(10)),
        )

    assert use(chat.endpoint, work) == (512, 512, 40)
    assert len(fake.asked("/v1/models")) == 1


def test_servers_that_say_neither(serve: Serve) -> None:
    fake = serve({"/v1/models": said({"object": "list", "data": [{"id": "gpt"}]})})
    chat = ChatModel(endpoint(fake))

    async def work() -> tuple[int, int | None, int | None]:
        counts = [await chat.count_tokens(MESSAGES, Deadline.after(10)) for _ in range(2)]
        return await chat.max_model_len(Deadline.after(10)), counts[0], counts[1]

    assert use(chat.endpoint, work) == (0, None, None)
    assert len(fake.asked("/tokenize")) == 1


@pytest.mark.parametrize(("is_hanging", "connections"), [(False, 1), (True, 2)])
def test_the_connection_is_used_again_when_the_stream_ends_after_its_last_event(
    serve: Serve, is_hanging: bool, connections: int
) -> None:
    fake = serve({PATH: streamed(completion(["It ", "adds."]), hangs=is_hanging)})
    chat = ChatModel(endpoint(fake, attempts=1))

    async def ask() -> tuple[str, End]:
        stream = chat.stream(MESSAGES, max_tokens=12, limits=limits())
        async with aclosing(stream.texts()) as texts:
            return "".join([text async for text in texts]), stream.end

    async def work() -> list[tuple[str, End]]:
        return [await ask(), await ask()]

    assert use(chat.endpoint, work) == [("It adds.", End.COMPLETE)] * 2
    assert fake.connections == connections
