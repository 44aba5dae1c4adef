"""``python -m fqt_client``: the `fqt` command."""

import sys

from fqt_client.cli import main

sys.exit(main())
