"""Mistakes in what a user passes, told apart from mistakes of ours."""


class InputError(Exception):
    """Something the user gave cannot be used; the message says what to do about it.

    The command line prints the message alone, without a traceback.
    """


class MissingPackageError(ImportError):
    """A package that only some of the library needs is not installed; the message says which.

    The command line prints the message alone, without a traceback.
    """
