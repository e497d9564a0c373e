"""For all tests."""

import signal

# A shell that starts the suite in the background lets it ignore Ctrl-C, and every process started from here would too;
# the tests of Ctrl-C send real signals to such processes.
signal.signal(signal.SIGINT, signal.default_int_handler)
