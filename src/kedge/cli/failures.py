"""How a command ends: 0 done, 1 failed, 2 used wrongly, 3 no server is running. One sentence says what to do."""

from __future__ import annotations

import sys
from typing import Any

import click

from kedge.config import SettingError
from kedge.home import HomeError


class Failed(click.ClickException):
    exit_code = 1


class NotRunning(click.ClickException):
    exit_code = 3


class Commands(click.Group):
    """A group whose commands may raise what boto3, the settings and the file system raise."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingError as error:
            raise click.UsageError(f"{error}.") from error
        except HomeError as error:
            raise Failed(str(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failed(f"{error.filename or 'The system'}: {error.strerror or error}.") from error
        except Exception as error:
            answer = of_client(error)
            if answer is None:
                raise
            raise answer from error


def of_client(error: Exception) -> click.ClickException | None:
    """What boto3 raised, as a sentence; None when it comes from elsewhere."""
    if "botocore" not in sys.modules:
        return None
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        answer = error.response.get("Error", {})
        message = error.response.get("OriginalMessage") or answer.get("Message") or str(error)
        return Failed(f"{answer.get('Code', 'Error')}: {message}")
    if isinstance(error, exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError):
        return NotRunning("The server does not answer; look at `kedge status`, or start it with `kedge up`.")
    if isinstance(error, exceptions.ParamValidationError):
        return click.UsageError(" ".join(str(error).split()))
    if isinstance(error, exceptions.BotoCoreError):
        return Failed(" ".join(str(error).split()))
    return None
