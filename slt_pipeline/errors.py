"""The error that is the user's to fix."""


class SltError(Exception):
    """A mistake in input, configuration or state that the user can fix.

    The message is one line that names the thing, both values where two disagree, and the cure.
    The command line prints it alone and exits with status 2; `--debug` adds the traceback.
    """
