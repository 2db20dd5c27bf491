#!/usr/bin/env bash
# Smoke test of a running Facteur with curl and jq: one mail and a small batch through the sandbox transport, which keeps
# the mail and delivers nothing. It fails loudly at the first thing that is not as it should be.
#
#   FACTEUR_URL   the service, default http://127.0.0.1:8025
#   FACTEUR_KEY   a key with the scopes send, read and manage; without it the program FACTEUR (default: facteur) makes a
#                 tenant and a key in the database that its environment names
set -euo pipefail

url=${FACTEUR_URL:-http://127.0.0.1:8025}
key=${FACTEUR_KEY:-}
run=$(date +%s)-$$
body=$(mktemp)
trap 'rm -f "$body"' EXIT

fail() {
	echo "smoke: $1" >&2
	[ ! -s "$body" ] || { cat "$body" >&2; echo >&2; }
	exit 1
}

# call STATUS METHOD PATH [curl options]: the answer's body, or the end.
call() {
	local want=$1 method=$2 path=$3 got
	shift 3
	got=$(curl -sS -o "$body" -w '%{http_code}' -X "$method" "$url$path" -H "Authorization: Bearer $key" "$@") || fail "$method $path: no answer"
	[ "$got" = "$want" ] || fail "$method $path: status $got instead of $want"
	cat "$body"
}
json() { call "$1" POST "$2" -H 'Content-Type: application/json' -H "Idempotency-Key: smoke-$run-$3" -d "$4"; }
ok() { echo "ok: $1"; }

# wait_sent PATH FILTER: until the filter on the resource is true.
wait_until() {
	for _ in $(seq 150); do
		call 200 GET "$1" >/dev/null
		if jq -e "$2" "$body" >/dev/null; then return; fi
		sleep 0.2
	done
	fail "$1: not $2 within 30 s"
}

call 200 GET /healthz >/dev/null
call 200 GET /readyz >/dev/null
ok "healthy and ready"

if [ -z "$key" ]; then
	facteur=${FACTEUR:-facteur}
	tenant=$("$facteur" tenant create "Smoke test $run")
	key=$("$facteur" key create "$tenant" --name smoke)
	ok "made tenant $tenant and a key"
fi

call 401 GET /v1/messages -H 'Authorization: Bearer fct_nonsense' >/dev/null
ok "a wrong key is refused"

profile=$(json 201 /v1/sender-profiles profile '{"level": "company", "owner_ref": "smoke-'"$run"'", "name": "Smoke", "default": true,
	"from": {"name": "Smoke & Fils", "address": "smoke@firm.example"}, "transport": "sandbox"}' | jq -er .id)
ok "sender profile $profile"

template=$(json 201 /v1/templates template '{"name": "Smoke '"$run"'", "document_type": "invoice", "default_language": "fr", "tokens": ["MONTANT"],
	"translations": {
		"fr": {"subject": "Facture NUMFACT", "text": "Bonjour NOMCLIENT,\n\nVoici la facture NUMFACT du DATEFACT : MONTANT."},
		"nl": {"subject": "Factuur NUMFACT", "text": "Dag NOMCLIENT,\n\nHier is factuur NUMFACT van DATEFACT: MONTANT."}}}' | jq -er .id)
ok "template $template"

sum=$(printf '%%PDF-1.4 smoke %s' "$run" | sha256sum | cut -d' ' -f1)
attachment=$(printf '%%PDF-1.4 smoke %s' "$run" | call 201 POST '/v1/attachments?filename=facture.pdf&kind=invoice_pdf' \
	-H 'Content-Type: application/pdf' --data-binary @- | jq -er .id)
[ "$(call 200 GET "/v1/attachments/$attachment/content" | sha256sum | cut -d' ' -f1)" = "$sum" ] || fail "the attachment came back changed"
ok "attachment $attachment comes back byte for byte"

message() {
	echo '{"to": [{"name": "Café Zoë", "address": "'"$1"'"}], "language": "'"$2"'", "document": {"type": "invoice", "number": "'"$3"'",
		"date": "2026-11-23"}, "client": {"name": "Café Zoë"}, "tokens": {"MONTANT": "1.210,00 €"}, "attachments": [{"id": "'"$attachment"'"}]'
}
one="$(message compta@zoe.example fr-BE "S-$run-0"), \"template_id\": \"$template\", \"sender_profile_id\": \"$profile\"}"
msg=$(json 202 /v1/messages message "$one" | jq -er .id)
again=$(json 202 /v1/messages message "$one" | jq -er .id)
[ "$msg" = "$again" ] || fail "the same idempotency key made two messages: $msg and $again"
ok "message $msg, once for two requests with one idempotency key"

wait_until "/v1/messages/$msg" '.status == "sent"'
call 200 GET "/v1/messages/$msg/raw" >/dev/null
grep -q "Subject: Facture S-$run-0" "$body" || fail "the mail's subject is not as composed"
ok "sent, and the mail as sent can be fetched"

job=$(json 202 /v1/send-jobs batch '{"purpose": "batch", "sender_profile_id": "'"$profile"'", "template_id": "'"$template"'", "messages": [
	'"$(for n in 1 2 3; do message "client$n@zoe.example" nl "S-$run-$n"; echo '},'; done | sed '$s/,$//')"']}' | jq -er .id)
wait_until "/v1/send-jobs/$job" '.counts.sent == 3'
ok "batch $job: 3 of 3 sent"

json 422 /v1/messages wrong '{"to": [], "subject": "x", "text": "NUMFACT", "sender_profile_id": "'"$profile"'"}' >/dev/null
jq -e '.errors | length > 0' "$body" >/dev/null || fail "a refusal names no field"
ok "a mail that cannot be right is refused with every problem named"

echo "smoke test passed"
