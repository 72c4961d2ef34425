"""Models from a hub: which one is meant (choice.py, folders.py), what the hub says of it (repository.py), its bytes
(download.py, folder_pull.py)."""
