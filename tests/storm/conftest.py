"""The 60 s storms are collected when ``STORM`` is set (``make storm-tests``): they are half of what all tests take.

What they are made of (proxy, comparison, the faults that they found) is tested always.
"""

import os

collect_ignore = [] if os.environ.get("STORM") else ["test_storm.py"]
