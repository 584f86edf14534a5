"""What every other package stands on: records, errors, time, logs, processes. It imports no package above it."""
