"""The command ``schedule``: it stays up, polls source and state, and runs when a run is due (SPEC 7).

The state's run records are the timetable's memory: they say when the last run began, by the source's clock, and whether
it succeeded. So two schedules on two hosts agree, and no restart or changed host clock loses a run or does one twice.
"""
