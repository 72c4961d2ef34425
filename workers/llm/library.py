"""The one place llama_cpp is imported through: quiet, and fatal aborts without a debugger."""

from __future__ import annotations

import ctypes
import logging
import os

# Without this an abort inside llama.cpp starts gdb on the dying process. Read by the library itself: before its import.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp

log = logging.getLogger(__name__)

_GGML_LOG_LEVEL_ERROR = 4


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # made by ctypes
def _log(level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
    if level == _GGML_LOG_LEVEL_ERROR:
        log.warning("llama.cpp: %s", text.decode("utf-8", "replace").rstrip())


# Process-global. Importing llama_cpp has set a callback that prints; ours must live as long as the process, so it stays
# a module-level name.
llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))

__all__ = ["llama_cpp"]
