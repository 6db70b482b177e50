"""What a message may be sent to."""

from __future__ import annotations

import pytest

from kedge.config import SettingError
from kedge.topics.addresses import parse

AT_HOME = ("127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "fd00::1")
PUBLIC = ("8.8.8.8", "2606:4700::1111")
NEVER = (
    "169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "0.0.0.0", "::", "224.0.0.1",
    "2002:a9fe:a9fe::1",
)  # fmt: skip


def test_all_is_whatever_people_have_at_home() -> None:
    allowed = parse("all")
    assert all(allowed(each) for each in (*AT_HOME, *PUBLIC))
    assert not any(allowed(each) for each in NEVER)


def test_public_is_the_public_internet() -> None:
    allowed = parse("public")
    assert all(allowed(each) for each in PUBLIC)
    assert not any(allowed(each) for each in (*AT_HOME, *NEVER, "::ffff:127.0.0.1", "100.64.0.1"))


def test_networks_are_those_alone() -> None:
    allowed = parse("10.0.0.0/8, 127.0.0.1, fd00::/8")
    assert all(allowed(each) for each in ("10.255.0.1", "127.0.0.1", "::ffff:127.0.0.1", "fd00::9"))
    assert not any(allowed(each) for each in ("127.0.0.2", "11.0.0.1", "::1", *PUBLIC, *NEVER))


def test_what_is_no_setting_is_said() -> None:
    with pytest.raises(SettingError, match="all, public or networks"):
        parse("some")
