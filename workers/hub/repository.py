"""What the hub says of a repository: its files with their sizes and hashes."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from config.errors import BackchannelError, Forbidden, NotFound, ProviderRefused, Unavailable, Unusable
from config.settings import is_loopback
from workers.hub.choice import HubFile, HubModel, Reference, choose, models_in, parse
from workers.hub.folders import choose_files, parse_folder

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

TIMEOUT_S = 20.0
USER_AGENT = "backchannel"  # the library would tell what else is installed here

_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Hub:
    """`url` of the hub or a mirror that speaks its protocol; `token` may be empty."""

    url: str
    token: str = ""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def trusts_environment(self) -> bool:
        """Whether the proxies of the environment are asked: not for a hub on this machine."""
        return not is_loopback(self.host)

    def address(self, found: Found, file: HubFile) -> str:
        return f"{self.url.rstrip('/')}/{found.repo}/resolve/{quote(found.revision, safe='')}/{quote(file.path)}"

    def headers(self) -> dict[str, str]:
        named = {"user-agent": USER_AGENT}
        return named | {"authorization": f"Bearer {self.token}"} if self.token else named


@dataclass(frozen=True, slots=True)
class Found:
    """A model on the hub, at the commit it was found at."""

    repo: str
    revision: str
    model: HubModel


def look_up(hub: Hub, wanted: str) -> Found:
    """Raises Unusable (no name of a model), NotFound, Forbidden, ProviderRefused or, worth retrying, Unavailable."""
    reference = parse(wanted)
    revision, files = _files(hub, reference, lambda path: path.lower().endswith(".gguf"))
    return Found(reference.repo, revision, choose(reference, models_in(files)))


def look_up_folder(hub: Hub, part: str, wanted: str) -> Found:
    """A part of the voice. Raises as `look_up` does."""
    reference = parse_folder(wanted)
    inside = f"{reference.folder}/" if reference.folder else ""
    revision, files = _files(hub, reference.hub, lambda path: path.startswith(inside))
    return Found(reference.hub.repo, revision, choose_files(part, reference, files))


def _files(hub: Hub, reference: Reference, is_wanted: Callable[[str], bool]) -> tuple[str, list[HubFile]]:
    """The commit, and those files of it that can be checked."""
    info = _ask(hub, reference)
    siblings = [one for one in info.siblings or () if is_wanted(one.rfilename)]
    files = [file for one in siblings if (file := _file(one)) is not None]
    if siblings and not files:
        raise ProviderRefused(f"The hub tells no hashes of the files of {reference.repo}, so they cannot be checked.")
    return info.sha or reference.revision or "main", files


def _file(sibling: Any) -> HubFile | None:
    """None for a file that cannot be checked: the hub tells neither its size nor any hash."""
    lfs = sibling.lfs
    size = lfs.size if lfs is not None else sibling.size
    sha256 = lfs.sha256 if lfs is not None else None
    if not size or not (sha256 or sibling.blob_id):
        return None
    return HubFile(sibling.rfilename, int(size), sha256, sibling.blob_id)


def _ask(hub: Hub, reference: Reference) -> Any:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    _use_own_client(hub.trusts_environment)
    # False, not None: None would look for somebody's token in the home folder.
    api = HfApi(endpoint=hub.url.rstrip("/"), token=hub.token or False, headers={"user-agent": USER_AGENT})
    try:
        return api.model_info(reference.repo, revision=reference.revision, files_metadata=True, timeout=TIMEOUT_S)
    except HFValidationError:
        raise Unusable(f"{reference.repo} is no name that a repository can have.") from None
    except HfHubHTTPError as error:
        raise _in_words(hub, reference, error) from None
    except httpx2.HTTPError as error:
        raise Unavailable(f"The hub ({hub.host}) cannot be reached: {type(error).__name__}.") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ProviderRefused(f"What answers at {hub.host} does not speak as a hub does; correct HUB_URL.") from None


def _use_own_client(trust_environment: bool) -> None:
    """The library's own client waits without end, and refuses everything in a process that keeps its other libraries
    from asking the hub (HF_HUB_OFFLINE). What is asked for here, a person asked for."""
    with _lock:
        _install(trust_environment)


@functools.lru_cache(maxsize=1)
def _install(trust_environment: bool) -> None:
    import httpx2
    from huggingface_hub import set_client_factory

    def make() -> httpx2.Client:
        return httpx2.Client(timeout=TIMEOUT_S, follow_redirects=True, trust_env=trust_environment)

    set_client_factory(make)


def _in_words(hub: Hub, reference: Reference, error: HfHubHTTPError) -> BackchannelError:
    from huggingface_hub.errors import RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return NotFound(f"The repository {reference.repo} has no revision {reference.revision}.")
    headers = error.response.headers
    return refusal(hub, reference.repo, error.response.status_code, headers)


def refusal(hub: Hub, what: str, status: int, headers: Mapping[str, str]) -> BackchannelError:
    """A hub's answer that is none, as an error. `what`: the repository, or a file in it."""
    if headers.get("x-error-code") == "GatedRepo":
        return Forbidden(
            f"The hub shows {what} only to people who accepted its terms: accept them there and set HUB_TOKEN."
        )
    if status == 401 and hub.token:
        return Forbidden(f"The hub does not show {what} to the owner of HUB_TOKEN, or there is no such thing.")
    if status == 401:
        return Forbidden(f"The hub does not show {what} without a token (HUB_TOKEN), or there is no such thing.")
    if status == 403:
        return Forbidden(f"The hub does not allow {what} to be pulled{'' if hub.token else ' without HUB_TOKEN'}.")
    if status in (404, 410):
        return NotFound(f"The hub has no {what}.")
    if status in (408, 425, 429) or status >= 500:
        wait = headers.get("retry-after", "")
        return Unavailable(
            f"The hub ({hub.host}) answered {status}.", headers={"Retry-After": wait} if wait.isdecimal() else None
        )
    return ProviderRefused(f"The hub ({hub.host}) answered {status}.")
