"""/api/voice: recordings become text and texts recordings, as jobs. Talking is `/ws/voice`."""

from __future__ import annotations

import io
from typing import IO, Any

import filetype  # type: ignore[import-untyped]
import orjson
import redis
from litestar import Controller, Response, get, post
from litestar.datastructures import FormMultiDict, UploadFile
from litestar.params import FromPath
from litestar.response import File

from api.files import SAVED
from api.intake import AnyRequest, builder, submit
from api.media import FORM, TAKES
from api.schemas import SpeakIn, TranscribeIn, parse_body
from api.threads import reading as in_thread
from api.threads import waiting
from api.waiting import preference, respond
from config.errors import BadRequest, Conflict, NotFound, TooLarge, Unavailable, Unusable, WrongMedia
from config.queues import Kind
from config.settings import MIB, get_settings
from storage import blobs, jobs, presence
from storage.database import Session, reading
from storage.jobs import NewJob
from storage.object_store import disposition
from storage.tables import Job

Json = dict[str, Any]
_HEAD_BYTES = 8192  # what tells the kinds of files apart
_KINDS = "WAV, MP3, M4A, Ogg, WebM and FLAC are heard"
_MAX_PHRASES_CHARS = 100_000  # of JSON


class SpeechController(Controller):
    path = "/api/voice"
    tags = ["voice"]  # noqa: RUF012

    @post("/transcribe", status_code=200, summary="The words of a recording", opt={TAKES: (FORM,)})
    async def transcribe(self, request: AnyRequest) -> Response[Json]:
        """Also what was heard so far is told, an `item` for each utterance (GET /api/jobs/{job_id}/events)."""
        _check_is_served()
        file, phrases = _uploaded(await _form(request))
        given = parse_body(TranscribeIn, {"phrases": phrases})
        digest = await waiting(_taken_in, file)
        wanted = {"blob": digest, **given.model_dump(exclude_unset=True)}
        new = NewJob(Kind.TRANSCRIBE, request.user.id, wanted)
        job = await submit(request, Kind.TRANSCRIBE, lambda _session: new, wanted)
        return await respond(request, job, preference(request, get_settings().wait_max_s), _result)

    @post("/speak", status_code=200, summary="A text, read aloud")
    async def speak(self, request: AnyRequest, data: SpeakIn) -> Response[Json]:
        _check_is_served()
        build = builder(Kind.SPEAK, data, request.user.id)
        job = await submit(request, Kind.SPEAK, build, data.model_dump(mode="json"))
        return await respond(request, job, preference(request, get_settings().wait_max_s), _result)

    @get("/speech/{job_id:str}", summary="What was spoken, as a WAV file")
    async def sound(self, request: AnyRequest, job_id: FromPath[str]) -> File:
        return await in_thread(_sound, request.user.id, job_id)

    @get("/voices", summary="Who listens and who speaks here, and in which voices")
    async def voices(self) -> Json:
        return await in_thread(_voices)


def _check_is_served() -> None:
    if not get_settings().voice_enabled:
        raise Unavailable("Voice is switched off here (VOICE_ENABLED).")


def _result(_session: Session, job: Job) -> Json:
    return {**(job.result or {}), "job_id": job.id}


# --- coming in


async def _form(request: AnyRequest) -> FormMultiDict:
    try:
        return await request.form()
    except (UnicodeDecodeError, LookupError):
        raise BadRequest("The form holds a field that is not text in its own charset.") from None


def _uploaded(form: FormMultiDict) -> tuple[UploadFile, list[Any]]:
    """The recording, and what alone can have been said: a field for each phrase, or one JSON list of them."""
    file, phrases = form.get("file"), form.getall("phrases", [])
    is_text = all(isinstance(phrase, str) for phrase in phrases)
    if not isinstance(file, UploadFile) or not is_text or len(list(form.multi_items())) != 1 + len(phrases):
        raise Unusable("Send one recording as the multipart field `file`, and `phrases` as text if you like.")
    if len(phrases) == 1 and phrases[0].lstrip().startswith("["):
        try:
            return file, orjson.loads(phrases[0][:_MAX_PHRASES_CHARS])
        except orjson.JSONDecodeError:
            raise Unusable("`phrases` is a JSON list of texts, or a field for each.") from None
    return file, phrases


def _taken_in(file: UploadFile) -> str:
    """Its digest."""
    limit = get_settings().voice_max_file_mb * MIB
    size = file.file.seek(0, io.SEEK_END)
    if size > limit:
        raise TooLarge(f"The recording is larger than {limit // MIB} MiB.")
    if size == 0:
        raise Unusable("The recording is empty.")
    _check_is_sound(file.file)
    return blobs.store(file.file, limit)[0]


def _check_is_sound(file: IO[bytes]) -> None:
    """Raises WrongMedia for what is certainly something else; of the rest the decoder decides."""
    file.seek(0)
    guess = filetype.guess(file.read(_HEAD_BYTES))
    file.seek(0)
    if guess is not None and not guess.mime.startswith(("audio/", "video/")):
        raise WrongMedia(f"The file is a {guess.extension} file; {_KINDS}.")


# --- going out


def _sound(owner_id: str, job_id: str) -> File:
    with reading() as session:
        job = jobs.get(session, job_id, owner_id)
    if job.kind != Kind.SPEAK.value:
        raise NotFound("That job speaks no text.")
    if job.status != "succeeded" or job.result is None:
        raise Conflict(f"There is nothing to be heard: the job is {job.status}.")
    headers = {**SAVED, "Content-Disposition": disposition(f"speech-{job.id[-12:]}.wav")}
    return File(blobs.path(job.result["blob"]), media_type="audio/wav", headers=headers)


def _voices() -> Json:
    """As the voice worker says it; null where none is there."""
    try:
        workers = presence.present()
    except redis.RedisError:
        raise Unavailable("The voices are not known right now: Redis does not answer.") from None
    models = next((worker.models for worker in workers if "speech" in worker.queues), {})
    speaker, transcriber = models.get("speaker"), models.get("transcriber")
    return {
        "voices": speaker.get("voices", []) if speaker else [],
        "speaker": _part(speaker),
        "transcriber": _part(transcriber),
    }


def _part(model: Json | None) -> Json | None:
    return None if model is None else {name: model.get(name) for name in ("name", "state", "detail")}
