"""GGUF files from a hub: which one is meant (choice.py), what the hub says of it (repository.py), its bytes
(download.py)."""
