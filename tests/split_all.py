"""`parallax_lib` with what lies beneath adapters split over the processes, as where a GPU has no room for all of it."""

from parallax_lib.__main__ import main
from parallax_lib.prm import sharded

if __name__ == "__main__":
    sharded.WHOLE = 0
    raise SystemExit(main())
