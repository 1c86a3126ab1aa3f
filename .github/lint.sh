#!/bin/sh
# Checks the workflows, and tells all that is wrong: sh .github/lint.sh FOLDER_OF_PROGRAMS
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0

"$1/check-jsonschema" --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml || failed=1
"$1/check-jsonschema" --quiet --builtin-schema vendor.dependabot .github/dependabot.yml || failed=1
"$1/zizmor" --quiet --offline --no-progress --min-severity medium . || failed=1
"$1/actionlint" -shellcheck= -pyflakes= .github/workflows/*.yml || failed=1
exit $failed
