#!/bin/sh
# Checks what is deployed, and tells all that is wrong: sh deploy/lint.sh FOLDER_OF_PROGRAMS
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0

# check WHAT COMMAND...: say nothing where it is right, and everything where it is not.
check() {
    what=$1
    shift
    said=$("$@" 2>&1) || {
        printf '%s: %s\n' "$what" "$said" >&2
        failed=1
    }
}

check Dockerfiles "$1/hadolint" Dockerfile deploy/pgbouncer/Dockerfile
check "format of deploy/Caddyfile" "$1/caddy" fmt --diff deploy/Caddyfile
check deploy/Caddyfile env EDGE_NETWORK=192.0.2 TRUSTED_PROXIES= "$1/caddy" adapt --validate --config deploy/Caddyfile

if command -v promtool >/dev/null; then
    check deploy/alerts.yml promtool check rules deploy/alerts.yml
    check deploy/alerts.test.yml promtool test rules deploy/alerts.test.yml
else
    echo "lint: skipped: there is no promtool here, so the alert rules were not checked" >&2
fi

manifests=$(mktemp -d)
trap 'rm -r "$manifests"' EXIT
for overlay in one-worker-pods multi-worker-pods openshift loadtest; do
    check "overlay $overlay" "$1/kubectl" kustomize "deploy/kubernetes/overlays/$overlay" --output "$manifests/$overlay.yaml"
    [ "$overlay" = loadtest ] || check "manifests of $overlay" "$1/python" deploy/kubernetes/check.py <"$manifests/$overlay.yaml"
done
if command -v checkov >/dev/null; then
    # Left out: an image's digest (43) is known once it is pushed, a fixed tag need not be pulled again (15), and the user (40) is the
    # image's own, 10001, or one that OpenShift assigns.
    check policies checkov --directory "$manifests" --framework kubernetes --skip-check CKV_K8S_43,CKV_K8S_15,CKV_K8S_40 \
        --skip-download --compact --quiet
else
    echo "lint: skipped: there is no checkov here (requirements/policy.txt), so the manifests' policies were not checked" >&2
fi

# quiet COMMAND...: fail also where it warns.
quiet() {
    warned=$("$@" 2>&1) && [ -z "$warned" ] || {
        echo "$warned"
        return 1
    }
}
if docker compose version >/dev/null 2>&1; then
    for overlay in "" production pgbouncer swarm; do
        files=docker-compose.yml${overlay:+:deploy/compose.$overlay.yml}
        check "$files" quiet env COMPOSE_FILE="$files" DOMAIN=example.com docker compose --profile '*' config --quiet
    done
else
    echo "lint: skipped: there is no docker compose here, so its files were not checked" >&2
fi
exit $failed
