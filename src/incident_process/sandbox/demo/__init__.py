"""The whole story on embedded parts, with synthetic data (SPEC 7, ``demo``).

data.py        synthetic rows in the field's columns, for the demo and for benchmarks
vocabulary.py  the invented words that they are made of
tables.py      the two source tables in a SQLite file
stage.py       folder, configuration, receiver and commands, as real processes
story.py       the steps, one after the other
compare.py     the source against the receiver's own log, by code that shares nothing with the pipeline
screen.py      what the reader sees
"""
