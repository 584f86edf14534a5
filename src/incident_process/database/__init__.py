"""The one database layer under source and state, for MySQL, MariaDB and SQLite.

* ``session``: what every session has to be like, whatever a server, a proxy or a pool has made of it; pure.
* ``connect``: brings a connection of asyncmy or pymysql into that state.
* ``server_connection``: such a connection of asyncmy, with what it is asked.
* ``file_connection``: a SQLite file and the thread that its connection lives in.
* ``errors``: the one tree of errors for source and state, and what the meaning of a driver's error is made of.
* ``server_errors``, ``sqlite_errors``: what the error numbers mean, in words with a remedy.
"""
