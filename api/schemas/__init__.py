"""Request bodies, one file for each noun."""

from api.schemas.base import MAX_OFFSET, Body, Storable, one_model, parse_body, usable_text
from api.schemas.chats import ChatIn, ChatOptions, PromptIn, ResponseFormat, TextChatIn
from api.schemas.drafts import DraftChatIn, DraftChatOptions, DraftIn, DraftOptions, ProjectIn, ProjectOptions
from api.schemas.imports import ImportIn
from api.schemas.jobs import INPUTS, JobIn, parse_input
from api.schemas.search import SearchIn
from api.schemas.speech import SpeakIn, TranscribeIn
from api.schemas.summaries import SummarizeIn, SummaryIn, SummaryOptions

__all__ = [
    "INPUTS", "MAX_OFFSET", "Body", "ChatIn", "ChatOptions", "DraftChatIn", "DraftChatOptions", "DraftIn",
    "DraftOptions", "ImportIn", "JobIn", "ProjectIn", "ProjectOptions", "PromptIn", "ResponseFormat", "SearchIn",
    "SpeakIn", "Storable", "SummarizeIn", "SummaryIn", "SummaryOptions", "TextChatIn", "TranscribeIn", "one_model",
    "parse_body", "parse_input", "usable_text",
]  # fmt: skip
