"""The protocols a `debate` section may choose. A new one is its file and a line here."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Tag

from agentark_ray.debate.protocols.judged import JudgedConfig
from agentark_ray.debate.protocols.rounds import DebateConfig
from agentark_ray.debate.protocols.self_consistency import SelfConsistencyConfig
from agentark_ray.debate.protocols.single import SingleConfig
from agentark_ray.debate.protocols.verify import VerifyConfig
from agentark_ray.section import chosen_by
from agentark_ray.team import Speakers

PROTOCOLS: dict[str, type[Speakers]] = {
    "debate": DebateConfig,
    "judged": JudgedConfig,
    "verify": VerifyConfig,
    "self_consistency": SelfConsistencyConfig,
    "single": SingleConfig,
}

if TYPE_CHECKING:
    TeamConfig = Speakers
else:
    TeamConfig = Annotated[
        reduce(or_, (Annotated[section, Tag(name)] for name, section in PROTOCOLS.items())),
        chosen_by("protocol", PROTOCOLS, default="debate", error="protocol"),
    ]
