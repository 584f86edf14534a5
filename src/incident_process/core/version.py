"""The version of the program, which reports, logs and pages say."""

__version__ = "0.2.0"
