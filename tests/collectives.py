"""What goes from one device to another, found in the text of a compiled program."""

import re

from igan.planning.program import COLLECTIVES

COLLECTIVE = re.compile(rf"\b({'|'.join(COLLECTIVES)})\b")
