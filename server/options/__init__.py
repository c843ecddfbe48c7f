"""Messages to validated options and sources. Reading order: `reader`, which walks a request's
fields and puts the whole together; then a file for each group of the contract's options, with its
rules and what it makes of them: `output`, `edges`, `foreground`, `background`, `crop`, `subject`,
`shadow`, `tensor`, `temporal`; and `source`, where pictures come from and results go to.

Called by the services for each request and by the CLI's local mode. The kinds of rules are
`server.option_rules`'.
"""

from server.option_rules import InvalidOption, NotBuilt
from server.options.reader import RULES, read_options
from server.options.source import read_source
from server.options.subject import read_wish

__all__ = ["RULES", "InvalidOption", "NotBuilt", "read_options", "read_source", "read_wish"]
