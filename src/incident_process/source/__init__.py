"""Where the rows come from: MySQL/MariaDB and SQLite, read only (SPEC 2).

``base`` says what the pipeline may ask, ``columns`` what is read. ``sql`` answers for both databases, with ``queries``
for the texts, ``dialects`` for their differences, ``load_date`` for LOAD_DATE arithmetic and ``account_spool`` for the
accounts of a survey. ``mysql`` and ``sqlite`` are the two drivers (``driver`` is their contract), and ``indexes`` says
what makes them fast.
"""
