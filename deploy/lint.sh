#!/bin/sh
# Static checks of what is deployed: sh deploy/lint.sh FOLDER_OF_PROGRAMS
set -eu
cd "$(dirname "$0")/.."

"$1/hadolint" Dockerfile deploy/pgbouncer/Dockerfile
"$1/caddy" fmt deploy/Caddyfile >/dev/null
said=$(EDGE_NETWORK=192.0.2 TRUSTED_PROXIES= "$1/caddy" adapt --validate --config deploy/Caddyfile 2>&1) || {
    echo "$said" >&2
    exit 1
}

if command -v promtool >/dev/null; then
    promtool check rules deploy/alerts.yml >/dev/null
    promtool test rules deploy/alerts.test.yml >/dev/null
else
    echo "lint: there is no promtool here, so the alert rules were not checked" >&2
fi

manifests=$(mktemp -d)
trap 'rm -r "$manifests"' EXIT
for overlay in one-worker-pods multi-worker-pods openshift loadtest; do
    "$1/kubectl" kustomize "deploy/kubernetes/overlays/$overlay" >"$manifests/$overlay.yaml"
    [ "$overlay" = loadtest ] || "$1/python" deploy/kubernetes/check.py <"$manifests/$overlay.yaml" >/dev/null
done
if command -v checkov >/dev/null; then
    # Left out: an image's digest (43) is known once it is pushed, a fixed tag need not be pulled again (15), and the user (40) is the
    # image's own, 10001, or one that OpenShift assigns.
    checkov --directory "$manifests" --framework kubernetes --skip-check CKV_K8S_43,CKV_K8S_15,CKV_K8S_40 --skip-download --compact --quiet
else
    echo "lint: there is no checkov here (requirements/policy.txt), so the manifests' policies were not checked" >&2
fi

if ! docker compose version >/dev/null 2>&1; then
    echo "lint: there is no docker compose here, so its files were not checked" >&2
    exit 0
fi
for files in docker-compose.yml docker-compose.yml:deploy/compose.production.yml docker-compose.yml:deploy/compose.pgbouncer.yml docker-compose.yml:deploy/compose.swarm.yml; do
    said=$(COMPOSE_FILE=$files DOMAIN=example.com docker compose --profile '*' config --quiet 2>&1) && [ -z "$said" ] || {
        echo "$files: $said" >&2
        exit 1
    }
done
