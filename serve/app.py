"""The application for `serve run` and `serve deploy`; `agentark serve` deploys the same.

serve run serve.app:build run=runs/demo
"""

from agentark_ray.serving.app import build

__all__ = ["build"]
