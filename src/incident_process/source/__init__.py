"""Where the rows come from: MySQL/MariaDB and SQLite, read only (SPEC 2).

``contract`` says what the pipeline may ask, ``columns`` what is read. ``sql`` answers it for both databases, with
``queries`` for the texts, ``dialects`` for their differences, ``temporal`` for LOAD_DATE arithmetic and ``spool`` for
the accounts of a survey. ``mysql`` and ``sqlite`` are the two drivers under it (``driver`` is what they promise), and
``indexes`` says what makes them fast.
"""
