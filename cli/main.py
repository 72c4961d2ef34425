"""The `backchannel` command. Each subcommand is one file beside this one, loaded only when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from config.settings import SettingsError

# command → (module, help shown in the overview)
COMMANDS = {
    "up": ("cli.up", "Run everything and keep it running"),
    "run": ("cli.run", "Run one process of the Procfile"),
    "import": ("cli.imports", "Import export files, folders or zips"),
    "reindex": ("cli.reindex", "Build the search index anew"),
    "export": ("cli.export", "Write everything to a file of your own"),
    "chat": ("cli.chat", "Say something and watch the answer"),
    "talk": ("cli.talk", "Talk, by microphone or recording, and hear the answer"),
    "search": ("cli.search", "Find conversations"),
    "models": ("cli.models", "List, pull, choose or remove models"),
    "user": ("cli.users", "Who may sign in: add, list, disable"),
    "key": ("cli.keys", "API keys: add, list, revoke"),
    "jobs": ("cli.jobs", "List, show, watch, cancel or retry jobs"),
    "openapi": ("cli.openapi", "Print the description of the HTTP interface"),
    "doctor": ("cli.doctor", "Check each part and say how to mend it"),
    "db": ("cli.db", "Database migrations"),
}


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backchannel")
def cli() -> None:
    """Backchannel brings your AI conversations home: searchable, answerable, yours."""


def main() -> None:
    try:
        code = cli(standalone_mode=False)  # click's own mode turns Ctrl-C into exit code 1
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
