"""What a user can mend: raised with a message that says what is wrong and what to do, printed without a traceback.

CannotStart
├── DataFolderError      the folder is in use, foreign, half-made or too new
├── AddressError         the API's address is taken or not this machine's
└── StartError           a child did not come up
    └── AddressTakenError    because its port was taken
"""


class CannotStart(Exception):
    """Tunery cannot run as asked."""


class DataFolderError(CannotStart):
    """The data folder cannot be used."""


class AddressError(CannotStart):
    """The address that the API should listen on cannot be used."""


class StartError(CannotStart):
    """A child did not come up; the message holds the end of its log."""


class AddressTakenError(StartError):
    """Somebody else listens on the port that the child was given."""
