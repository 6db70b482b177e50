"""What a handler may ask about its request, and say about its answer, beyond its arguments.

Has the members of the model server's context that SageMaker's toolkits pass on (sagemaker-inference over the
multi-model server), and the same as plain attributes. The index that those members take is ignored: one context is one
request.
"""

from __future__ import annotations

from typing import Any

from kedge.serving.runtimes.base import Invocation, ModelFailure

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
CONTENT_TYPE = "Content-Type"
SESSION_ID = "X-Amzn-SageMaker-Session-Id"
SESSION_HEADERS = {
    "x-amzn-sagemaker-new-session-id": "new_session",
    "x-amzn-sagemaker-closed-session-id": "closed_session",
}
"""By which an answer says what became of a session -> as the answer's frame calls it."""
MAX_CUSTOM_ATTRIBUTES = 1024
MAX_SESSION = 256


class Context:
    def __init__(self, request: Invocation, model_dir: str) -> None:
        self.request = request
        self.request_id = request.request_id
        self.inference_id = request.inference_id
        self.custom_attributes = request.custom_attributes
        self.target_model = request.target_model
        self.session_id = request.session_id
        self.model_dir = model_dir
        self.system_properties: dict[str, Any] = {"model_dir": model_dir, "gpu_id": None, "batch_size": 1}
        self.status = 200
        self.phrase = ""
        self.response_content_type = ""
        self.response_custom_attributes = request.custom_attributes
        """What the answer's custom attributes will be: the request's, unless the script sets others."""
        self.session: dict[str, str] = {}
        """What became of a session, as base.Answer has it."""

    @property
    def request_processor(self) -> list[Context]:
        return [self]

    def get_request_id(self, idx: int = 0) -> str:
        return self.request_id

    def get_request_properties(self) -> dict[str, str]:
        request = self.request
        headers = {
            CONTENT_TYPE: request.content_type,
            "Accept": request.accept,
            CUSTOM_ATTRIBUTES: request.custom_attributes,
            "X-Amzn-SageMaker-Inference-Id": request.inference_id,
            "X-Amzn-SageMaker-Target-Model": request.target_model,
            SESSION_ID: request.session_id,
        }
        return {name: value for name, value in headers.items() if value}

    def get_all_request_header(self, idx: int = 0) -> dict[str, str]:
        return self.get_request_properties()

    def get_request_header(self, idx: int, key: str) -> str | None:
        found = (value for name, value in self.get_request_properties().items() if name.lower() == key.lower())
        return next(found, None)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.response_content_type = value

    def get_response_content_type(self, idx: int = 0) -> str | None:
        return self.response_content_type or None

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Content-Type, the custom attributes and what became of a session reach the client.

        SageMaker drops every other header too.
        """
        if key.lower() == CONTENT_TYPE.lower():
            self.response_content_type = value
        elif key.lower() == CUSTOM_ATTRIBUTES.lower():
            if not value.isascii() or not value.isprintable() or len(value) > MAX_CUSTOM_ATTRIBUTES:
                raise ModelFailure(
                    f"Custom attributes have at most {MAX_CUSTOM_ATTRIBUTES} printable ASCII characters."
                )
            self.response_custom_attributes = value
        elif named := SESSION_HEADERS.get(key.lower()):
            if not value.isascii() or not value.isprintable() or len(value) > MAX_SESSION:
                raise ModelFailure(f"A session's id has at most {MAX_SESSION} printable ASCII characters.")
            self.session[named] = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """400 to 599 makes the answer an error with that status; its body is the message."""
        if not isinstance(code, int) or not 200 <= code <= 599:
            raise ModelFailure(f"The script's status is {code!r}; it has to be 200 to 599.")
        self.status, self.phrase = code, phrase
