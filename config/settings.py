"""All settings, read from the environment and `.env`. A bad value stops the process with a sentence.

Names are the environment's names in lower case. Every number carries its unit in its name and its reason beside it.
"""

from __future__ import annotations

import ipaddress
import threading
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.identity import check_sign_in, parse_limits

MIB = 1024 * 1024

# A Unix socket's path must fit sockaddr_un (108 bytes on Linux, 104 on macOS).
MAX_SOCKET_PATH = 100


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True, validate_default=True)

    # --- where it listens and keeps its state
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    flower_host: str = ""  # as HOST unless set
    flower_port: int = Field(5555, ge=1, le=65535)
    flower_basic_auth: str = ""  # user:password; made up at first start when AUTH_MODE=required
    data_dir: Path = Path("data")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "console", "json"] = "auto"  # auto: console on a terminal, JSON otherwise
    frontend_url: str = ""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()  # comma-separated
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()  # more names this server answers to, comma-separated
    auth_mode: Literal["local", "required"] = "local"

    # --- parts: embedded unless given from outside
    redis_url: str = ""
    database_url: str = ""
    chroma_url: str = ""
    postgres_host: str = ""
    postgres_port: int = 5432
    postgres_db: str = "backchannel"
    postgres_user: str = "postgres"
    postgres_password: SecretStr = SecretStr("")

    # NORMAL survives kill -9 of every process; only a power cut may take the last few commits. FULL pays an fsync each.
    sqlite_synchronous: Literal["normal", "full"] = "normal"

    # --- the job ledger
    lease_s: float = Field(8.0, gt=0)  # a dead worker's job is free after this; with sweep_s below: again within 15 s
    heartbeat_s: float = Field(2.0, gt=0)  # four chances to renew before a lease is lost
    sweep_s: float = Field(1.0, gt=0)  # how often upkeep looks
    resend_after_s: float = Field(5.0, gt=0)  # a queued job whose message is gone from the broker is sent again
    retry_base_s: float = Field(1.0, ge=0)  # first retry after about 1 s, doubling …
    retry_max_s: float = Field(60.0, ge=0)  # … up to a minute, each ±50 % so that retries do not arrive together
    queue_limit: int = Field(10_000, ge=1)  # queued jobs per queue before 429; a chat queue this long is hours deep
    owner_queue_limit: int = Field(2_000, ge=1)  # one caller cannot fill a queue for all others
    job_retention_days: int = Field(90, ge=1)
    idempotency_hours: int = Field(24, ge=1)  # a key repeated later than this makes a new job
    wait_max_s: float = Field(600.0, gt=0)  # longest a waiting request is held before it becomes a 202

    webhook_secret: SecretStr = SecretStr("")  # signs what is posted to a job's webhook_url

    # --- events
    event_log_max: int = Field(50_000, ge=100)  # events kept per job; the informational ones stop being logged before
    event_log_hours: int = Field(24, ge=1)  # life of a log after its last event; then the row answers
    sse_heartbeat_s: float = Field(15.0, gt=0)  # below the 30–60 s at which proxies drop silent connections

    # --- limits on what comes in
    max_body_mb: int = Field(2, ge=1)  # JSON bodies
    max_upload_mb: int = Field(4096, ge=1)  # exports of 1.8 GB are real
    max_message_chars: int = Field(200_000, ge=1)  # about 50k tokens, beyond most context windows
    max_page: int = Field(200, ge=1)

    # --- language model
    model_path: str = ""
    model_repo: str = ""  # on the hub: owner/repository, with :Q4_K_M or /file.gguf behind it; pulled at start
    # What `backchannel models pull` takes when it is told nothing: 1.1 GB, answers on two cores, speaks 29 languages,
    # Apache-2.0.
    model_pull_default: str = "Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M"
    hub_url: str = "https://huggingface.co"
    hub_token: SecretStr = SecretStr("")
    model_n_ctx: int = Field(8192, ge=256)  # prompt and answer; 8k holds a long chat and costs ~1 GB of cache at 7B
    model_n_threads: int = Field(0, ge=0)  # 0: all cores but one; OpenMP on busy cores is 5–11 times slower
    model_n_gpu_layers: int = -1  # all of them; ignored by a CPU build
    model_slots: int = Field(8, ge=1)  # answers decoded together; on a CPU more than eight gain little
    model_cache_mb: int = Field(4096, ge=64)  # what all slots' caches may take; fewer slots when it is not enough
    # q8_0 halves the cache at little cost in quality; f32 doubles it, for exact comparisons.
    model_kv_type: Literal["f32", "f16", "q8_0", "q4_0"] = "f16"
    model_flash_attention: Literal["auto", "on", "off"] = "auto"
    model_memory_mb: int = Field(0, ge=0)  # what all resident models may take; 0: what is free when one is loaded
    # Idle conversations' caches on disk, 0 for none: reading 8k tokens again takes a CPU minutes, fetching seconds.
    model_disk_cache_mb: int = Field(1024, ge=0)
    chat_max_tokens: int = Field(1024, ge=1)
    chat_wait_retrieval_s: float = Field(10.0, gt=0)  # then answer without sources, and say so
    chat_wait_files_s: float = Field(10.0, ge=0)  # for a file that is being read; then answer without its text
    chat_attachments: int = Field(10, ge=0)  # pictures and PDFs that a model looks at with one question, the newest
    chat_attachments_mb: int = Field(12, ge=1)  # of them together; providers take 20 to 50, counted a third larger
    generate_concurrency: int = Field(48, ge=1)  # attendants that wait; one engine decodes their answers together
    index_concurrency: int = Field(8, ge=2)  # searches waiting plus one embedding job
    background_concurrency: int = Field(4, ge=1)  # imports are CPU-bound; more only take turns

    # --- remote models: each provider is there when its key, or for Ollama and compatible servers its URL, is set
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str = ""
    anthropic_api_key: SecretStr = SecretStr("")
    anthropic_base_url: str = ""
    xai_api_key: SecretStr = SecretStr("")
    xai_base_url: str = ""
    gemini_api_key: SecretStr = SecretStr("")
    gemini_base_url: str = ""
    ollama_url: str = ""
    ollama_api_key: SecretStr = SecretStr("")
    openai_compatible_url: str = ""
    openai_compatible_api_key: SecretStr = SecretStr("")
    models_file: Path | None = None  # more models, or other values for known ones: config/models.toml has the shape
    provider_connect_s: float = Field(10.0, gt=0)
    provider_silence_s: float = Field(120.0, gt=0)  # reasoning models say nothing for a minute
    provider_max_retries: int = Field(4, ge=0)  # within an attempt: at once after a cut, else with growing pauses
    provider_max_wait_s: float = Field(30.0, ge=0)  # a longer Retry-After gives the job back to its queue instead

    # --- summaries by an external service, which then writes all those for which no model is named
    metacognition_api_url: str = ""
    metacognition_auth_token: SecretStr = SecretStr("")
    metacognition_poll_s: float = Field(5.0, gt=0)  # between two looks at how far it is
    metacognition_give_up_min: float = Field(100.0, gt=0)  # a long conversation takes it an hour
    metacognition_timeout_s: float = Field(30.0, gt=0)  # it takes the messages and works later

    # --- Linear, where a draft becomes a project
    linear_access_key: SecretStr = SecretStr("")
    linear_api_url: str = "https://api.linear.app/graphql"
    linear_team: str = ""  # key or name of the team whose projects they are; empty: the first that Linear names
    linear_timeout_s: float = Field(30.0, gt=0)

    # --- memories (mem0), which drafts are written with
    mem0_api_url: str = ""
    mem0_user_id: str = ""
    mem0_timeout_s: float = Field(10.0, gt=0)  # a draft waits this long, and is written without

    # --- retrieval
    embedding_model: str = ""  # a sentence-transformers name or path; default: the packaged all-MiniLM-L6-v2
    embedding_backend: Literal["sentence-transformers", "hashing"] = "sentence-transformers"
    embedding_threads: int = Field(0, ge=0)  # 0: torch decides
    embedding_gpu_mb: int = Field(1024, ge=0)  # of a GPU, where torch uses one; language models leave it alone. 0: all
    search_timeout_s: float = Field(30.0, gt=0)  # covers the first load of the embedding model
    search_min_score: float = 0.25  # vector hits under cosine 0.25 are noise
    rag_passages: int = Field(5, ge=1, le=50)
    rerank_model: str = ""  # a cross-encoder of sentence-transformers that reads the best passages again; empty: none
    rerank_best: int = Field(30, ge=2, le=200)  # each costs a small model some 15 ms of a core
    rerank_wait_s: float = Field(1.0, gt=0)  # then the order stays as it was found
    rerank_threads: int = Field(0, ge=0)  # 0: half of the cores; bulk embedding may want the others

    # --- emotions
    emotion_model: str = ""  # a transformers folder that classifies text; empty: the embedder and sentences of ours
    chat_wait_emotion_s: float = Field(3.0, gt=0)  # then the answer goes without, as nobody waits long for a mood

    # --- voice
    voice_enabled: bool = True  # without it no voice worker is started and /ws/voice says so
    voice_concurrency: int = Field(16, ge=2)  # turns that wait for the model while others are spoken
    voice_pause_ms: int = Field(600, ge=100, le=10_000)  # of silence that end a turn; within one people pause less
    voice_min_speech_ms: int = Field(160, ge=32)  # shorter is a click or a breath
    voice_barge_in_ms: int = Field(320, ge=32)  # of speech over the answer that stop it; a cough is shorter
    voice_max_utterance_s: float = Field(60.0, gt=1)  # then it is answered as it stands
    voice_stall_ms: int = Field(800, ge=100)  # who sends nothing for so long has said all: files end like that
    voice_idle_min: float = Field(30.0, gt=0)  # a connection on which nothing is said is closed after this
    voice_max_connections: int = Field(128, ge=1)  # of one web process; each costs 0.4 % of a core to listen to
    voice_send_timeout_s: float = Field(15.0, gt=0)  # a client that takes nothing for so long is let go
    voice_keep_audio: bool = True  # what was said and answered, beside its text
    voice_output_rate: int = Field(22_050, ge=8_000, le=48_000)  # samples a second, where a client asks for none
    voice_transcriber: Literal["auto", "whisper", "sphinx"] = "auto"  # auto: whisper where its weights are
    voice_transcribers: int = Field(2, ge=1)  # utterances understood at a time; each takes a core while somebody speaks
    voice_speaker: Literal["auto", "kokoro", "piper", "espeak"] = "auto"
    voice_speakers: int = Field(2, ge=1)  # sentences spoken at a time, a process each
    voice_name: str = ""  # whose voice, as the speaker calls it; empty: its first
    # What `backchannel models pull voice` takes from the hub: 300 MB, MIT each.
    voice_transcriber_repo: str = "Systran/faster-whisper-base.en"
    voice_speaker_repo: str = "rhasspy/piper-voices/en/en_US/lessac/medium"
    voice_emotion_repo: str = "j-hartmann/emotion-english-distilroberta-base"
    voice_max_file_mb: int = Field(200, ge=1)  # of a recording to be transcribed: three hours of MP3
    voice_max_file_min: int = Field(180, ge=1)  # the same, for what is packed tighter than it is long

    # --- workspace: the one folder that /api/workspace/scan looks at
    workspace_dir: Path | None = None
    workspace_max_files: int = Field(20_000, ge=1)  # beyond it a scan says that it is not complete
    workspace_scan_s: float = Field(5.0, gt=0)  # the same, for slow disks
    workspace_max_file_kb: int = Field(1024, ge=1)  # a longer text is data, and is not indexed

    # --- files: their bytes lie in DATA_DIR, or in a bucket once one is named
    max_file_mb: int = Field(10, ge=1)
    file_url_s: int = Field(300, ge=1, le=604_800)  # a signed address is for one download now; S3 takes a week at most
    file_read_s: float = Field(60.0, gt=0)  # a PDF that takes longer is read as far as it comes
    vision_model: str = ""  # describes pictures, so that they are found; empty: nobody does
    aws_access_key_id: str = ""
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_region: str = "us-east-1"
    aws_s3_bucket_name: str = ""
    aws_endpoint_url: str = ""  # of another server with this protocol

    # --- share links: where each host is asked; another address than its own is for a stand-in or a proxy
    chatgpt_share_url: str = "https://chatgpt.com"
    claude_share_url: str = "https://claude.ai"
    grok_share_url: str = "https://grok.com"
    branchprompt_share_url: str = "https://v2.branchprompt.com"

    # --- names of the seeds that later features read
    secret_key: SecretStr = SecretStr("")
    enable_cache: bool = True  # of answers, in Redis
    answer_cache_mb: int = Field(32, ge=1)  # about 20,000 answers; the oldest go first
    answer_cache_hours: float = Field(24.0, gt=0)

    # --- who is calling
    session_expire_hours: int = Field(24, ge=1)  # of a browser that stays away; one that comes back is renewed
    access_token_minutes: int = Field(60, ge=1)  # of a bearer token: it cannot be taken back before
    google_client_id: str = ""
    google_client_secret: SecretStr = SecretStr("")
    google_redirect_uri: str = ""
    oidc_issuer: str = ""  # any other OpenID Connect issuer than Google
    oidc_discovery_url: str = ""  # default: the issuer's /.well-known/openid-configuration
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_redirect_uri: str = ""
    oidc_scopes: str = "openid email profile"
    oidc_allowed: Annotated[tuple[str, ...], NoDecode] = ()  # addresses and @domains; none: whoever the issuer knows
    oidc_timeout_s: float = Field(10.0, gt=0)  # a person is waiting
    login_tries: int = Field(10, ge=1)  # wrong passwords for one name from one address …
    login_window_min: float = Field(15.0, gt=0)  # … within this; ten times as many for the name, and for the address
    # Requests per person and route; unset: 1200 with AUTH_MODE=required (20 a second), none where there is one person.
    rate_limit_per_minute: int | None = Field(None, ge=0)
    rate_limits: Annotated[dict[str, int], NoDecode] = {}  # other numbers for some routes; 0 is none
    tokens_per_day: int = Field(0, ge=0)  # prompts and answers of one person, by UTC; 0: no bound

    @field_validator("cors_origins", "allowed_hosts", "oidc_allowed", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("rate_limits", mode="before")
    @classmethod
    def _limits(cls, value: object) -> object:
        return parse_limits(value) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _refuse_open_local(self) -> Self:
        for name, host in (("HOST", self.host), ("FLOWER_HOST", self.flower_bind)):
            if self.auth_mode == "local" and not is_loopback(host):
                raise ValueError(
                    f"AUTH_MODE=local serves whoever reaches it as the owner, so it listens on loopback only; "
                    f"{name}={host} is reachable by others. Use {name}=127.0.0.1 or AUTH_MODE=required."
                )
        if "*" in self.cors_origins:
            raise ValueError("CORS_ORIGINS must name origins; '*' would let any web page drive this server.")
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError("HEARTBEAT_S must be at most half of LEASE_S, or a slow moment loses the lease.")
        check_sign_in(self)
        return self

    @property
    def flower_bind(self) -> str:
        return self.flower_host or self.host

    @property
    def run_dir(self) -> Path:
        """Sockets, ports and pid files of the running copy."""
        return self.data_dir / "run"

    @property
    def model_cache_dir(self) -> Path:
        """What language models keep of conversations on disk; deleting what was said empties it."""
        return self.data_dir / "model-cache"

    @property
    def redis_is_private(self) -> bool:
        return not self.redis_url

    @property
    def redis(self) -> str:
        """URL for redis-py."""
        return self.redis_url or f"unix://{quote(str(private_redis_socket(self.data_dir)))}"

    @property
    def broker(self) -> str:
        """The same server, as kombu spells it."""
        url = self.redis
        return "redis+socket://" + url.removeprefix("unix://") if url.startswith("unix://") else url

    @property
    def chroma_is_private(self) -> bool:
        return not self.chroma_url

    @property
    def database(self) -> str:
        """SQLAlchemy URL."""
        if self.database_url:
            url = self.database_url
            for prefix in ("postgresql://", "postgres://"):
                if url.startswith(prefix):
                    return "postgresql+psycopg://" + url.removeprefix(prefix)
            return url
        if self.postgres_host:
            user, password = (
                quote(self.postgres_user, safe=""),
                quote(self.postgres_password.get_secret_value(), safe=""),
            )
            return (
                f"postgresql+psycopg://{user}:{password}@{self.postgres_host}:{self.postgres_port}/{self.postgres_db}"
            )
        return f"sqlite:///{self.data_dir / 'backchannel.db'}"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def private_redis_socket(data_dir: Path) -> Path:
    """Where the private Redis of this DATA_DIR listens; outside it when the path would be too long for a socket."""
    inside = data_dir / "run" / "redis.sock"
    if len(str(inside).encode()) <= MAX_SOCKET_PATH:
        return inside
    import hashlib
    import os

    name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    return Path(f"/tmp/backchannel-{os.getuid()}-{name}/redis.sock")  # noqa: S108 - the folder is made 0700 and owned by us


class SettingsError(ValueError):
    """One sentence per bad setting, for a terminal."""


_lock = threading.Lock()
_settings: Settings | None = None


def get_settings() -> Settings:
    """The process's settings, read once. Raises SettingsError."""
    global _settings  # noqa: PLW0603 - functools.cache is no singleton under threads
    with _lock:
        if _settings is None:
            _settings = load_settings()
        return _settings


def load_settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False):
            name = "_".join(str(part) for part in problem["loc"]).upper()
            lines.append(
                f"{name}: {problem['msg'].removeprefix('Value error, ')}"
                if name
                else problem["msg"].removeprefix("Value error, ")
            )
        raise SettingsError("\n".join(lines)) from None


def reset_settings() -> None:
    """Forget what was read, so that a test can change the environment."""
    global _settings  # noqa: PLW0603
    with _lock:
        _settings = None
