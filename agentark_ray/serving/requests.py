"""What a chat request may say, and the question in it. Pure: no HTTP, no Ray.

Everything that is not named here is refused: vLLM's own request also takes chat templates, regular
expressions and seeds, which are not for strangers (a seed can end vLLM's engine on a CPU).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from agentark_ray.debate.layouts import ask
from agentark_ray.types import Message, Sampling

MAX_TOP_LOGPROBS = 5
MAX_CHARS = 20_000  # of a text whose answer is looked for
MAX_FIELDS = 100  # of an object


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("expected Unicode, got half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
ShortText = Annotated[Text, Field(max_length=MAX_CHARS)]
StopWord = Annotated[str, Field(min_length=1, max_length=200)]
Stop = StopWord | Annotated[list[StopWord], Field(max_length=8)]


class Refused(ValueError):
    """A request that is not answered.

    `status` is of HTTP, `param` the part of the request, `retry_after_s` when to ask again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.code, self.retry_after_s = code, retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        return _refused, (self.status, self.message, self.param, self.code, self.retry_after_s)


def _refused(*args: Any) -> Refused:
    status, message, param, code, retry_after_s = args
    return Refused(status, message, param=param, code=code, retry_after_s=retry_after_s)


class _Strict(BaseModel):
    """Of a body with a million errors few are found: FastAPI writes each of them down, in the loop
    that serves all streams. Hence also `fail_fast`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, values: Any) -> Any:
        if isinstance(values, dict) and len(values) > MAX_FIELDS:
            raise ValueError(f"got {len(values)} fields, expected {MAX_FIELDS} at most")
        return values


class TextPart(_Strict):
    """A part of a message's content; only text is served."""

    type: Literal["text"]
    text: Text


class ChatMessage(_Strict):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(fail_fast=True)]
    name: Text | None = None

    @property
    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(_Strict):
    """What a stream says besides its text."""

    include_usage: bool = False


class Extension(_Strict):
    """What only this project's servers know."""

    trace: bool = False
    """Give all turns of a team with its answer: prompts, texts, figures; and a debate's votes."""


class _Sampled(_Strict):
    """What both kinds of requests have in common."""

    model: Annotated[str, Field(min_length=1, max_length=200, examples=["student", "debate"])]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    stop: Stop | None = None
    n: Literal[1] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=500)] | None = None

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream ends with its token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(_Sampled):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    agentark: Extension = Extension()

    @model_validator(mode="after")
    def _logprobs_agree(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs=true")
        return self

    @property
    def limit(self) -> int | None:
        """Output tokens asked for; None if the request does not say."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_Sampled):
    """POST /v1/completions: text that is continued. Of single models only."""

    prompt: Annotated[str, Field(min_length=1)]
    echo: Literal[False] = False

    @property
    def limit(self) -> int | None:
        """As in ChatRequest."""
        return self.max_tokens


class ErrorInfo(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """Every error, as OpenAI's API gives it."""

    error: ErrorInfo


class Answers(_Strict):
    """POST /v1/agentark/agreement."""

    texts: Annotated[list[ShortText], Field(min_length=2, max_length=2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question to a team or a student, with what the request says of sampling."""

    question: str
    system: str = ""  # comes before every speaker's persona
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    trace: bool = False

    def sampling(self, own: Sampling) -> Sampling:
        """A speaker's sampling, with what the request says in its place."""
        said = {
            name: getattr(self, name)
            for name in ("temperature", "top_p", "max_tokens")
            if getattr(self, name) is not None
        }
        return replace(own, **said)


def capped(own: Sampling, max_tokens: int) -> Sampling:
    """A speaker's sampling, with answers of `max_tokens` at most."""
    return replace(own, max_tokens=min(own.max_tokens, max_tokens))


def asked(request: ChatRequest) -> Asked:
    """The question of a request to a debate: one user message, and system messages before it.

    Raises:
        Refused: it is a longer conversation, or asks for what a debate does not have.
    """
    roles = [message.role for message in request.messages]
    *before, last = request.messages
    if last.role != "user" or any(role not in ("system", "developer") for role in roles[:-1]):
        raise Refused(
            422,
            f"messages: the model {request.model!r} answers one question: expected one user"
            f" message, with system messages before it, got roles {roles[:8]}",
            param="messages",
        )
    if not last.text.strip():
        raise Refused(422, "messages: the question is empty", param="messages")
    for name in ("logprobs", "stop", "presence_penalty", "frequency_penalty"):
        if getattr(request, name):
            raise Refused(422, f"{name}: the model {request.model!r} does not take it", param=name)
    return Asked(
        question=last.text,
        system="\n\n".join(message.text for message in before),
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.limit,
        trace=request.agentark.trace,
    )


def instructed(messages: Sequence[ChatMessage], instruction: str) -> list[Message]:
    """The messages of a single model, its question ended as in training.

    A conversation's first user message is the question; what follows is as the user wrote it.
    """
    said: list[Message] = []
    told = False
    for message in messages:
        text = message.text
        if message.role == "user" and not told:
            told = True
            if not text.rstrip().endswith(instruction):
                text = ask(text, instruction)
        role = "system" if message.role == "developer" else message.role
        said.append({"role": role, "content": text})
    return said


def check_limits(
    request: ChatRequest | CompletionRequest, *, messages: int, max_tokens: int
) -> None:
    """Refuse what is larger than the operator allows.

    Raises:
        Refused: it says which limit.
    """
    if isinstance(request, ChatRequest) and len(request.messages) > messages:
        raise Refused(
            413,
            f"messages: got {len(request.messages)}, this server takes {messages} at most",
            param="messages",
        )
    if request.limit and request.limit > max_tokens:
        raise Refused(
            422,
            f"max_tokens: got {request.limit}, this server gives {max_tokens} at most",
            param="max_tokens",
        )
