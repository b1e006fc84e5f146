"""Labels as an entry point for `ray job submit`; the same as `agentark traces label`.

ray job submit --working-dir . -- python jobs/label.py RUN [OPTIONS] [KEY=VALUE]...
"""

import sys

from agentark_ray.cli import app

if __name__ == "__main__":
    app(["traces", "label", *sys.argv[1:]])
