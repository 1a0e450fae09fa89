"""The error that is the user's to fix."""

import re


class SltError(Exception):
    """A mistake in input, configuration or state that the user can fix.

    The message is one line that names the thing, both values where two disagree, and the cure.
    The command line prints it alone and exits with status 2; `--debug` adds the traceback.
    """


def refused_by_torch(error: Exception) -> str:
    """Return why torch loads no file that is more than tensors and plain data, without its advice to load it anyhow."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    return f"it asks for {asked[1]}" if asked else "it is no file of tensors, or a program"
