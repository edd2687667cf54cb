"""Takes all memory there is."""

import resource

from harness.trial import connect
from tests.adversaries import finish, works

available = resource.getrlimit(resource.RLIMIT_DATA)[0]
finish(connect(), gained=works(lambda: len(bytearray(available + 2**30)) > 0))
