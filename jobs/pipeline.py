"""The main job as an entry point for `ray job submit`; the same as `agentark run`.

ray job submit --working-dir . -- python jobs/pipeline.py jobs/configs/gsm8k.yaml output=s3://BUCKET/RUN
"""

import sys

from agentark_ray.cli import app

if __name__ == "__main__":
    app(["run", *sys.argv[1:]])
