#!/bin/sh
# The source user: reads the two tables, and sees open transactions so that a window can wait for them.
set -eu
mysql --user=root --password="$MYSQL_ROOT_PASSWORD" <<END
CREATE USER 'incident_reader'@'%' IDENTIFIED BY '$READER_PASSWORD';
GRANT SELECT ON incident_db.debt_cust_detail TO 'incident_reader'@'%';
GRANT SELECT ON incident_db.debt_payment TO 'incident_reader'@'%';
GRANT PROCESS ON *.* TO 'incident_reader'@'%';
END
