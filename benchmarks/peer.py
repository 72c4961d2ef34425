"""The other end of `benchmarks.processes.Peer`: reads [function, arguments] per line, answers with JSON per line."""

from __future__ import annotations

import importlib
import json
import os
import sys

from cli.run import follow_supervisor


def main(module_name: str) -> None:
    follow_supervisor()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not among the answers
    module = importlib.import_module(module_name)
    for line in sys.stdin:
        function, arguments = json.loads(line)
        print(json.dumps(getattr(module, function)(**arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
