"""Every grader by name. Importing this loads neither math-verify nor rouge-score."""

from agentark_ray.grading.base import Grader
from agentark_ray.grading.choice import CHOICE
from agentark_ray.grading.math import MATH
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.grading.short import SHORT
from agentark_ray.grading.summary import SUMMARY

GRADERS: dict[str, Grader] = {
    grader.name: grader for grader in (NUMERIC, MATH, CHOICE, SHORT, SUMMARY)
}
