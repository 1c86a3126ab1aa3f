#!/bin/sh
# PgBouncer in transaction mode, with what the service needs of it. Its settings come from the environment.
set -eu
umask 077
password=${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:-/dev/null}")}
# In this file a quotation mark is written twice.
printf '"brigade" "%s"\n' "$(printf %s "$password" | sed 's/"/""/g')" >/tmp/users

# connect_query: startup parameters of a client are not handed on, so each new session of the server is told here.
# query_wait_timeout: who waits for a session of the server that long is answered 503, as without a pooler.
cat >/tmp/pgbouncer.ini <<INI
[databases]
brigade = host=postgres port=5432 connect_query='SET statement_timeout = ${POOLER_STATEMENT_TIMEOUT_MS:-10000}; SET jit = off'

[pgbouncer]
listen_addr = *
listen_port = 6432
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /tmp/users
pool_mode = transaction
max_prepared_statements = 200
ignore_startup_parameters = statement_timeout,jit
max_client_conn = ${POOLER_CLIENTS:-500}
default_pool_size = ${POOLER_SERVERS:-50}
max_db_connections = ${POOLER_SERVERS:-50}
query_wait_timeout = 1
server_login_retry = 1
INI
exec pgbouncer /tmp/pgbouncer.ini
