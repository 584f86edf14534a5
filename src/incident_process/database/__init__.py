"""What source and state share of MySQL and MariaDB.

* ``session``: what every session has to be like, whatever a server, a proxy or a pool has made of it; pure.
* ``connect``: brings a connection of asyncmy or pymysql into that state.
* ``server_errors``: what the servers' error numbers mean, with a remedy.
"""
