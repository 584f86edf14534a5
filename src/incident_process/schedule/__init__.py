"""The command ``schedule``: stays up, looks at source and state, and runs when a run is due (SPEC 7).

The state is the timetable's memory: when the last run began, and whether it succeeded, is read from the runs that it
keeps, by the source's clock. So two schedules on two hosts agree, and neither a restart nor a machine whose clock is
set loses a run or does one twice.
"""
