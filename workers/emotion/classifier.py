"""Emotion by a text classifier of transformers, such as j-hartmann/emotion-english-distilroberta-base."""

from __future__ import annotations

import threading
from pathlib import Path

from config.errors import ModelUnavailable
from workers.ports import Feeling

MAX_TOKENS = 512
MAX_CHARS = 20_000  # of a text that is cut by tokens anyway


class ClassifierEmotion:
    """Loading takes seconds; one text at a time."""

    def __init__(self, folder: str, *, threads: int | None = None) -> None:
        """Raises ModelUnavailable."""
        path = Path(folder).expanduser()
        self.name = path.name
        self._lock = threading.Lock()
        try:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            if threads:
                torch.set_num_threads(threads)
            self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            self._model = AutoModelForSequenceClassification.from_pretrained(path, local_files_only=True).eval()
            names = self._model.config.id2label
            self.labels = tuple(str(names[place]).lower() for place in range(len(names)))
        except Exception as error:  # whatever is wrong with the folder
            raise ModelUnavailable(
                f"The emotion model {self.name} cannot be loaded: it is broken or not on this machine."
            ) from error

    def classify(self, text: str) -> Feeling:
        import torch

        with self._lock, torch.inference_mode():
            limit = min(MAX_TOKENS, self._tokenizer.model_max_length)
            given = self._tokenizer(
                text[:MAX_CHARS].encode("utf-8", "replace").decode(),
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            )
            shares = self._model(**given).logits[0].softmax(-1).tolist()
        return Feeling(dict(zip(self.labels, shares, strict=True)), self.name)
