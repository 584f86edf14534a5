"""What everything else stands on: records, errors, time, logs, processes. It imports nothing of the packages above."""
