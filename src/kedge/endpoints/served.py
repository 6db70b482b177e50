"""What instances say that they serve, the model itself or what was compiled of it, for those who describe endpoints."""

from __future__ import annotations

from collections.abc import Mapping

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints.deployment import UID
from kedge.endpoints.descriptions import FleetVariant, image_tag

_GONE = (TaskState.STOPPING, TaskState.STOPPED, TaskState.FAILED)


class Served:
    """`heard` is told of each change of an instance; the rest asks what is known then. On the loop's thread."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, tuple[FleetVariant, str]]] = {}
        """Of each endpoint or inference component, by its uid: what each instance says."""

    def heard(self, status: TaskStatus) -> None:
        uid = status.labels.get(UID)
        if uid is None:
            return
        said = self._said.setdefault(uid, {})
        if status.state in _GONE or not status.serves:
            said.pop(status.id, None)
        else:
            place = (int(status.labels["fleet"]), status.labels["variant"])
            said[status.id] = (place, status.serves)
        if not said:
            del self._said[uid]

    def tags(self, uid: str) -> Mapping[FleetVariant, str]:
        """Of its variants the image's tag: "original" or "compiled-ENGINE"; none while instances differ or compile."""
        found: dict[FleetVariant, set[str]] = {}
        for place, serves in self._said.get(uid, {}).values():
            found.setdefault(place, set()).add(image_tag(serves))
        return {place: said for place, (said, *more) in found.items() if said and not more}
