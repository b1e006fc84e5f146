"""The comparison of all arms as an entry point for `ray job submit`; as `agentark evaluate`.

ray job submit --working-dir . -- python jobs/evaluate.py RUN [OPTIONS] [KEY=VALUE]...
"""

import sys

from agentark_ray.cli import app

if __name__ == "__main__":
    app(["evaluate", *sys.argv[1:]])
