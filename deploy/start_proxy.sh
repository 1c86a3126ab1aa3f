#!/bin/sh
# Starts Caddy. Docker has chosen the network of the replicas, so its first three numbers are read here from the address
# that this container has there. Swarm's DNS names it later, when it is healthy, and Caddy wants no numbers there.
set -eu
own=$(getent hosts proxy.edge || [ "${REPLICAS_FROM:-addresses}" = names ])
EDGE_NETWORK=$(echo "$own" | sed -n '1s/\.[0-9]* .*//p')
TRUSTED_PROXIES=$(echo "${TRUSTED_PROXIES:-}" | sed 's/,/ /g; s,^\*$,0.0.0.0/0 ::/0,')
export EDGE_NETWORK TRUSTED_PROXIES
exec caddy run --config /etc/caddy/Caddyfile --adapter caddyfile
