"""What the model's histories run on keeps the contracts of the real stores."""

from tests.conformance.test_events import *  # noqa: F403 -- the same tests, on another store
from tests.conformance.test_record_guards import *  # noqa: F403
from tests.conformance.test_record_rooms import *  # noqa: F403
from tests.conformance.test_records import *  # noqa: F403
