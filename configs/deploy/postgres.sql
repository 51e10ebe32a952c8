-- Runs once, as the superuser, on an empty PostgreSQL: a database and an owner each for Airflow and for the index, and
-- a role that may only read the index, for the dashboard. psql reads the passwords from the secrets' files.
\set airflow_password `cat /run/secrets/airflow_database_password`
\set index_password `cat /run/secrets/index_password`
\set reader_password `cat /run/secrets/index_reader_password`

CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE ROLE model_health LOGIN PASSWORD :'index_password';
CREATE ROLE model_health_reader LOGIN PASSWORD :'reader_password';
ALTER ROLE model_health_reader SET default_transaction_read_only = on;

CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE model_health OWNER model_health;
REVOKE CONNECT, TEMPORARY ON DATABASE airflow, model_health FROM PUBLIC;
GRANT CONNECT ON DATABASE model_health TO model_health_reader;

\connect model_health
-- Migrations make the tables later, as their owner.
ALTER DEFAULT PRIVILEGES FOR ROLE model_health IN SCHEMA public GRANT SELECT ON TABLES TO model_health_reader;
