from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from config.catalogue import providers
from config.errors import PromptTooLong, ProviderRefused, ProviderUnavailable, Unusable
from config.settings import Settings
from tests.standins.gemini_server import KEY, GeminiServer
from tests.workers.llm.answers import ask, collect
from tests.workers.llm.manners import Manners
from workers.llm.gemini import GeminiModel, open_model
from workers.llm.remote import GO_ON
from workers.ports import Attachment, ChatMessage, ChatRequest, Sampling, Tool, ToolCall

WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}


@pytest.fixture(scope="module")
def one_server() -> Iterator[GeminiServer]:
    with GeminiServer() as server:
        yield server


@pytest.fixture
def server(one_server: GeminiServer) -> GeminiServer:
    one_server.forget()
    return one_server


def _model(server: GeminiServer, name: str = "gemini-2.0-flash-exp", key: str = KEY) -> GeminiModel:
    settings = Settings(gemini_api_key=key, gemini_base_url=server.url, provider_max_retries=2)
    provider = providers(settings)["gemini"]
    return open_model(provider, provider.models[name], settings)


@pytest.fixture
def model(server: GeminiServer) -> GeminiModel:
    return _model(server)


@pytest.fixture
def stranger(server: GeminiServer) -> GeminiModel:
    return _model(server, key="AIzaSomebodyElses0123456789abcdefghijkl")


class TestManners(Manners):
    key = KEY


def _asked(server: GeminiServer, model: GeminiModel, *messages: ChatMessage, **more: Any) -> dict[str, Any]:
    """The body that was sent for these messages."""
    server.answers(server.says("Yes."))
    collect(model, ChatRequest(messages, **more))
    assert not server.problems
    return dict(server.asked[-1].body)


# --- what is sent


def test_roles_are_googles_and_the_system_prompt_is_apart(server: Any, model: GeminiModel) -> None:
    body = _asked(
        server,
        model,
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "Hi"),
        ChatMessage("assistant", "Hello."),
        ChatMessage("user", ""),
        ChatMessage("user", "And now?"),
    )
    assert body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [{"text": "Hello."}]},
        {"role": "user", "parts": [{"text": "And now?"}]},
    ]
    assert server.asked[-1].path == "/v1/models/gemini-2.0-flash-exp:streamGenerateContent"


def test_tools_and_their_results_go_there_and_back_without_ids(server: Any, model: GeminiModel) -> None:
    calls = ({"name": "weather", "args": {"city": "Köln"}}, {"name": "weather", "args": {}})
    server.answers(server.says("Let me see.", calls=calls))
    question = ChatMessage("user", "Weather?")
    first = collect(model, ChatRequest((question,), tools=(WEATHER,)))
    assert first.end.finish_reason == "tool_calls"
    koeln, other = first.end.tool_calls
    assert (koeln.name, koeln.arguments, other.arguments) == ("weather", {"city": "Köln"}, {})
    assert koeln.id != other.id
    declared = server.asked[-1].body["tools"][0]["functionDeclarations"]
    assert declared[0]["parameters_json_schema"] == WEATHER.parameters

    body = _asked(
        server,
        model,
        question,
        ChatMessage("assistant", first.text, tool_calls=first.end.tool_calls),
        ChatMessage("tool", "Rain.", tool_call_id=koeln.id),
        tools=(WEATHER,),
    )
    called, results = body["contents"][1:]
    assert called["parts"][1:] == [{"functionCall": {"name": call["name"], "args": call["args"]}} for call in calls]
    answers = [part["functionResponse"] for part in results["parts"]]
    assert [(one["name"], one["response"]["result"]) for one in answers] == [
        ("weather", "Rain."),
        ("weather", "There is no result."),
    ]


def test_files_go_inline(server: Any, model: GeminiModel) -> None:
    files = (Attachment("image/png", b"\x89PNG\xff\xfe"), Attachment("application/pdf", b"%PDF"))
    body = _asked(server, model, ChatMessage("user", "What is this?", files))
    text, picture, paper = body["contents"][0]["parts"]
    assert text["text"] == "What is this?"
    assert (picture["inlineData"]["mime_type"], paper["inlineData"]["mime_type"]) == ("image/png", "application/pdf")
    assert base64.urlsafe_b64decode(picture["inlineData"]["data"]) == b"\x89PNG\xff\xfe"


def test_a_picture_that_gemini_cannot_see_is_refused_before_it_is_sent(server: Any, model: GeminiModel) -> None:
    message = ChatMessage("user", "What is this?", (Attachment("image/gif", b"GIF89a"),))
    with pytest.raises(Unusable, match="image/gif"):
        collect(model, ChatRequest((message,)))
    assert not server.asked


def test_how_tokens_are_drawn(server: Any, model: GeminiModel) -> None:
    sampling = Sampling(temperature=3.0, top_k=20, seed=2**40 + 7, stop=tuple("abcdefg"), presence_penalty=0.5)
    config = _asked(server, model, ChatMessage("user", "Hi"), sampling=sampling)["generationConfig"]
    assert config == {
        "temperature": 2.0,
        "topP": 0.95,
        "topK": 20,
        "seed": 7,
        "maxOutputTokens": 1024,
        "stopSequences": list("abcde"),
        "presencePenalty": 0.5,
    }


def test_a_stop_string_beyond_those_google_takes_is_found_here(server: Any, model: GeminiModel) -> None:
    server.answers(server.says("one stop 7 two"))
    answer = ask(model, stop=tuple(f"stop {number}" for number in range(1, 8)))
    assert (answer.text, answer.end.finish_reason) == ("one ", "stop")


def test_json_by_a_schema(server: Any, model: GeminiModel) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    config = _asked(server, model, ChatMessage("user", "a?"), sampling=Sampling(response_format=form))[
        "generationConfig"
    ]
    assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", SCHEMA)
    any_json = Sampling(response_format={"type": "json_object"})
    config = _asked(server, model, ChatMessage("user", "a?"), sampling=any_json)["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert "responseJsonSchema" not in config


def test_an_answer_that_was_begun_is_asked_for_anew(server: Any, model: GeminiModel) -> None:
    server.answers(server.says("1}"))
    assert ask(model, response_format={"type": "json_schema", "schema": SCHEMA}, resume=('{"a": ', ())).text == "1}"
    assert server.asked[-1].body["contents"][-1] == {"role": "user", "parts": [{"text": GO_ON}]}


def test_gemini_3_is_given_a_signature_for_calls_of_others(server: Any) -> None:
    call = ToolCall("c1", "weather", {})
    messages = (ChatMessage("user", "?"), ChatMessage("assistant", "", tool_calls=(call,)))
    body = _asked(server, _model(server, "gemini-3.8-flash"), *messages, tools=(WEATHER,))
    assert body["contents"][1]["parts"][0]["thoughtSignature"]
    assert "thinkingConfig" not in body["generationConfig"]


def test_thinking_has_room_of_its_own(server: Any) -> None:
    thinker = _model(server, "gemini-2.5-flash")
    config = _asked(server, thinker, ChatMessage("user", "Hi"), sampling=Sampling(max_tokens=100))["generationConfig"]
    assert config["maxOutputTokens"] == 100 + thinker.thinking_tokens
    assert config["thinkingConfig"]["thinking_budget"] < config["maxOutputTokens"]


# --- what comes back


def test_thoughts_are_counted_and_not_shown(server: Any, model: GeminiModel) -> None:
    server.answers(server.says("Yes.", thoughtsTokenCount=30, cachedContentTokenCount=4))
    answer = ask(model)
    assert answer.text == "Yes."
    end = answer.end
    assert (end.prompt_tokens, end.cached_tokens, end.completion_tokens, end.reasoning_tokens) == (11, 4, 37, 30)


@pytest.mark.filterwarnings("ignore:SOMETHING_OF_NEXT_YEAR")
@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SOMETHING_OF_NEXT_YEAR", "content_filter"),
    ],
)
def test_why_it_ended(server: Any, model: GeminiModel, told: str, reason: str) -> None:
    server.answers(server.says("Well", reason=told))
    answer = ask(model)
    assert (answer.text, answer.end.finish_reason) == ("Well", reason)


def test_a_blocked_prompt_ends_without_a_word(server: Any, model: GeminiModel) -> None:
    server.answers(server.blocked("SAFETY"))
    answer = ask(model)
    assert (answer.text, answer.end.finish_reason, answer.end.prompt_tokens) == ("", "content_filter", 11)


def test_a_call_that_the_model_bungled_is_tried_again(server: Any, model: GeminiModel) -> None:
    server.answers(server.says(reason="MALFORMED_FUNCTION_CALL"), server.says("Better."))
    assert ask(model).text == "Better."


def test_the_pause_that_google_names_in_the_body_is_kept(server: Any, model: GeminiModel) -> None:
    pause = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "41.5s"}
    server.answers(server.refused(429, "Quota exceeded", details=(pause,)))
    with pytest.raises(ProviderUnavailable) as caught:
        ask(model)
    assert caught.value.headers == {"Retry-After": "42"}


def test_a_days_quota_is_not_asked_for_again_at_once(server: Any, model: GeminiModel) -> None:
    spent = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}]}
    server.answers(server.refused(429, "Quota exceeded", details=(spent, {"retryDelay": "2s"})))
    with pytest.raises(ProviderUnavailable) as caught:
        ask(model)
    assert int(caught.value.headers["Retry-After"]) >= 3600


def test_a_quota_of_nothing_never_passes(server: Any, model: GeminiModel) -> None:
    none = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "0"}]}
    server.answers(server.refused(429, "Quota exceeded", details=(none,)))
    with pytest.raises(ProviderRefused, match="no requests"):
        ask(model)


def test_a_prompt_that_is_too_long_says_so(server: Any, model: GeminiModel) -> None:
    why = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575)."
    server.answers(server.refused(400, why))
    with pytest.raises(PromptTooLong, match="1200000"):
        ask(model)


def test_calls_come_with_their_names_whatever_the_arguments(server: Any, model: GeminiModel) -> None:
    server.answers(server.says(calls=({"name": "now"},)))
    (call,) = collect(model, ChatRequest((ChatMessage("user", "?"),), tools=(WEATHER,))).end.tool_calls
    assert call == ToolCall(call.id, "now", {})
