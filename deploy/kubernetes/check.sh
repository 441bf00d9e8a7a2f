#!/usr/bin/env bash
# Compares the manifests with the schema of Kubernetes' API, offline.
set -euo pipefail
cd "$(dirname "$0")"

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
"$venv/bin/pip" install -q kubernetes-validate==1.34.1
"$venv/bin/kubernetes-validate" --strict --kubernetes-version 1.34.0 ./*.yaml
