"""What source and state share of MySQL and MariaDB."""
