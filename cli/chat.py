"""`backchannel chat`: say something and watch the answer come."""

from __future__ import annotations

import sys
import uuid
from typing import Any

import click
from click.exceptions import Exit

from cli.client import Client, Waiting
from cli.output import INTERRUPTED, Command, note, print_json, printable, remote, short
from cli.problems import ClientError

Json = dict[str, Any]


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True, metavar="MESSAGE")
@click.option("--session", "session_id", metavar="ID", help="Conversation to go on with [default: your current one].")
@click.option("--new", is_flag=True, help="Begin a new conversation, which becomes your current one.")
@click.option("--model", help="Model to answer with.")
@click.option("--system", help="Instructions that stand before the conversation.")
@click.option("--no-rag", is_flag=True, help="Answer without passages from your conversations.")
@click.option("--temperature", type=click.FloatRange(0, 5), help="0 answers the same way every time.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens of the answer at most.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Same seed, same answer.")
@remote
def command(
    client: Client, words: tuple[str, ...], session_id: str | None, new: bool, no_rag: bool, as_json: bool, **given: Any
) -> None:
    """Say MESSAGE and print the answer as it comes; `-` reads the message from stdin. Ctrl-C stops the answer."""
    if new and session_id:
        raise click.UsageError("--new and --session exclude each other.")
    body = {name: value for name, value in given.items() if value is not None}
    body |= {"message": _message(words), "use_rag": not no_rag}
    if new:
        session_id = client.request("POST", "/api/sessions")["session_id"]
    if session_id:
        body["session_id"] = session_id
    job = client.submit("chat", body, key=f"chat-{uuid.uuid4()}")
    answer = _Answer(quiet=as_json)
    try:
        _follow(client, job, answer)
    except KeyboardInterrupt:
        answer.end_line()
        _cancel(client, job["id"])
        raise Exit(INTERRUPTED) from None
    finally:
        answer.end_line()
    if as_json:
        print_json(answer.response)
    else:
        _print_sources(answer.response.get("sources") or [])


def _message(words: tuple[str, ...]) -> str:
    message = " ".join(words)
    if message == "-":
        message = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not message.strip():
        raise click.UsageError("There is nothing to say.")
    return message


def _follow(client: Client, job: Json, answer: _Answer) -> None:
    waiting = Waiting(client)
    waiting.look(job)
    for event in client.events(job["id"]):
        if event is not None:
            answer.take(event)
        elif not answer.started:
            waiting.look(client.job(job["id"]))
    if not answer.ended:
        raise ClientError(f"The job {short(job['id'])} ended without telling of it.", "no_answer")


def _cancel(client: Client, job_id: str) -> None:
    try:
        client.act(job_id, "cancel")
    except ClientError as error:
        note(f"The answer could not be stopped: {error.message}")
    else:
        note(f"Stopped: the job {short(job_id)} is cancelled.")


class _Answer:
    """What a chat's events come to. Text goes to stdout as it arrives, everything beside it to stderr."""

    def __init__(self, quiet: bool) -> None:
        self.started = self.ended = False
        self.response: Json = {}
        self._quiet = quiet
        self._in_line = False

    def take(self, event: Json) -> None:
        match event["type"]:
            case "started":
                self.started = True
            case "status":
                self._status(event)
            case "content":
                self._say(event["content"])
            case "reset":
                self.end_line()
                self._note("— the server lost what it had said; the answer starts over —")
            case "done":
                self.ended, self.response = True, event["response"]
            case "error":
                self.end_line()
                raise ClientError(f"No answer: {event['message']}", event["code"])
            case "cancelled":
                self.end_line()
                raise ClientError("The answer was cancelled.", "cancelled")

    def _status(self, event: Json) -> None:
        match event["status"]:
            case "generating_response" if event.get("model"):
                self._note(f"[{event['model']}]")
            case "retrieval_unavailable":
                self._note(f"Answering without sources: {event['message']}")
            case "history_shortened":
                self._note(f"The oldest {event['dropped_messages']} messages do not fit the model and were left out.")
            case "retrying":
                self._note(f"{event['message']} Trying again in {event['retry_in_s']:.0f} s.")

    def _say(self, text: str) -> None:
        if text and not self._quiet:
            self._in_line = not text.endswith("\n")  # first: Ctrl-C may come between the two
            click.echo(printable(text), nl=False)

    def _note(self, sentence: str) -> None:
        if not self._quiet:
            self.end_line()
            note(sentence)

    def end_line(self) -> None:
        if self._in_line:
            click.echo()
            self._in_line = False


def _print_sources(sources: list[Json]) -> None:
    if not sources:
        return
    click.echo("\nSources:")
    for source in sources:
        title = " ".join(printable(source["title"] or "(untitled)").split())
        click.echo(f"  {source['score']:.2f}  {title}  {source['conversation_id']}")
