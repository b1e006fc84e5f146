"""Another student as an entry point for `ray job submit`; the same as `agentark distill`.

ray job submit --working-dir . -- python jobs/distill.py RUN --strategy da KEY=VALUE...
"""

import sys

from agentark_ray.cli import app

if __name__ == "__main__":
    app(["distill", *sys.argv[1:]])
