"""``python -m captum_guided_ext`` is ``captum-guided``."""

import sys

from captum_guided_ext.cli import main

if __name__ == "__main__":
    sys.exit(main())
