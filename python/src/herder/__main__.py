"""`python -m herder APP`: one worker process. Herder starts it; there is nothing to run by hand."""

import sys

from herder.worker import main

sys.exit(main(sys.argv[1:]))
