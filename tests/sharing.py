"""How tests are shared out among pytest-xdist's workers, each of which has its own Redis, PostgreSQL, Chroma and S3."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

# These start a whole product, of a dozen processes: two of them at once are slower than one after the other, and what
# is said to happen within seconds would not.
WITH_PRODUCTS = ("tests/faults/", "tests/seeds/", "tests/cli/test_up.py", "tests/cli/test_whole_path.py")


class ProductsInTurn(LoadFileScheduling):
    """The tests of a file stay together; one worker begins with those of products, the others do the rest meanwhile."""

    def _split_scope(self, nodeid: str) -> str:
        """What is run by one worker: largest first."""
        file = super()._split_scope(nodeid)
        return "products" if file.startswith(WITH_PRODUCTS) else file
