"""All that is described, by method and address."""

from __future__ import annotations

from api.openapi import chats, conversations, drafts, house, jobs, models, speech
from api.openapi.shapes import Operation

OPERATIONS: dict[str, Operation] = {
    name: operation
    for nouns in (jobs, chats, conversations, drafts, models, speech, house)
    for name, operation in nouns.OPERATIONS.items()
}

TAGS = {
    "jobs": "Every slow thing is a job: submitted, watched, cancelled, tried again.",
    "chat": "Say something and get the answer.",
    "sessions": "Conversations that were begun here.",
    "voice": "Recordings become text and texts recordings; talking is the socket /ws/voice.",
    "conversations": "What was said, wherever it was said.",
    "imports": "Bring conversations home.",
    "files": "What lies beside conversations.",
    "summaries": "What a conversation is about, in a few words.",
    "project drafts": "What is to be done, written from a conversation and talked over.",
    "search": "By address, title, words and meaning.",
    "models": "Which there are, and which one answers.",
    "prompts": "What models are told for each kind of work.",
    "faithh": "What FAITHH's window shows beside the chat.",
    "sign-in": "Who you are.",
    "admin": "For admins.",
    "status": "How the house does.",
}

# Which OpenAPI itself has no words for.
SOCKETS = {
    "/ws/jobs": {
        "summary": "The events of many jobs at once",
        "takes": [{"subscribe": ["019a9c5e-…"], "after": {"019a9c5e-…": 3}}, {"unsubscribe": ["019a9c5e-…"]}],
        "sends": [
            {"type": "content", "content": "Prune", "job_id": "019a9c5e-…", "sequence_number": 4},
            {"type": "refused", "job_id": "019a9c5e-…", "code": "not_found", "message": "…", "retryable": False},
        ],
        "closes": "4401 not signed in, 4403 from a page elsewhere, 4429 too often",
    },
    "/ws/voice": {
        "summary": "Talk, and be answered aloud; ?job_id=…&after=N goes on behind event N of a turn",
        "takes": [
            "binary frames: PCM, 16 bit, mono, little-endian, at ?sample_rate (16000)",
            {"type": "end_of_turn"},
            {"type": "interrupt", "heard_ms": 1200},
            {"type": "ping"},
        ],
        "sends": [
            {"type": "ready", "sample_rate": 16000, "output_sample_rate": 22050, "session_id": None, "pause_ms": 600},
            {"type": "speech_started"},
            {"type": "partial_transcript", "text": "How do I"},
            {"type": "speech_ended", "reason": "pause"},
            {"type": "turn_started", "job_id": "019a9c5e-…", "after": 0, "session_id": "019a9c5e-…"},
            "the events of the turn's job, from `queued` to its end: transcript, emotion, response, audio, sentence …",
            "binary frames, behind each `audio`: its sound, in the same form, at ?output_sample_rate",
            {"type": "interrupted", "job_id": "019a9c5e-…", "heard_ms": 1200},
            {"type": "turn_done", "job_id": "019a9c5e-…", "status": "succeeded", "timings": {"first_audio_ms": 640}},
            {"type": "status", "status": "nothing_heard", "message": "No speech was heard."},
            {"type": "error", "code": "bad_request", "message": "…", "retryable": False},
        ],
        "closes": "4000 and the HTTP status: 4400 only nonsense, 4401 not signed in, 4403 from a page elsewhere, "
        "4404 no such session or turn, 4408 nothing said or nothing taken for too long, 4422 an address that cannot "
        "be used, 4429 too often or too many, 4503 not now; 1012 restarted: connect again",
    },
}

# What stands in addresses and queries, by name.
PARAMETERS = {
    **dict.fromkeys(
        ("job_id", "conversation_id", "session_id", "file_id", "version_id", "from_id", "to_id", "cursor"),
        "019a9c5e-7d3a-7c41-b2a7-0c5d1f8e9a10",
    ),
    "prompt_type": "project_draft",
    "name": "logo.png",
    "q": 'pruning "climbing roses" -tulips last week',
    "phrases": '["open the door", "stop"]',
    "source": "chatgpt",
    "kind": "chat",
    "status": "failed",
    "since": "2026-11-01T00:00:00Z",
    "until": "2026-12-01T00:00:00Z",
    "has_attachment": True,
    "after": 3,
    "expires": 1_795_254_600,
    "signature": "9f2c…",
    "code": "4/0AX4XfWh…",
    "state": "n3Jq…",
    "error": "access_denied",
    "iss": "https://accounts.google.com",
}
