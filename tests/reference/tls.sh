#!/usr/bin/env bash
# Writes ../fixtures/tls: a certificate authority of its own, and a certificate of it for 127.0.0.1, for
# the tests of downloads behind a company's proxy. They are valid for a hundred years and secret to nobody.
set -euo pipefail
cd "$(dirname "$0")/../fixtures/tls"

key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt; }

authority=$(mktemp)
trap 'rm -f "$authority"' EXIT
key >"$authority"
openssl req -x509 -new -key "$authority" -days 36500 -subj "/CN=seqlora test authority" \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" -out authority.pem
key >server.key.pem
openssl req -new -key server.key.pem -subj "/CN=127.0.0.1" |
  openssl x509 -req -CA authority.pem -CAkey "$authority" -days 36500 \
    -extfile <(printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n') -out server.pem
