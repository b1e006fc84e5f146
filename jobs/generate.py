"""Trace generation as an entry point for `ray job submit`; the same as `agentark traces generate`.

ray job submit --working-dir . -- python jobs/generate.py jobs/configs/gsm8k.yaml output=s3://BUCKET/RUN
"""

import sys

from agentark_ray.cli import app

if __name__ == "__main__":
    app(["traces", "generate", *sys.argv[1:]])
