package demo

import (
	"fmt"
	"io"
)

// PrintCurl writes the calls that repeat the demo's steps by hand. url is empty when the service is not there any more: then
// the values are left out.
func PrintCurl(w io.Writer, url string, r Result) {
	if url != "" {
		fmt.Fprintf(w, "  export URL=%s\n  export KEY=%s\n  export JOB=%s MSG=%s\n  export PDF=%s\n\n", url, r.Key, r.JobID, r.MessageID, r.Invoice)
	}
	_, _ = io.WriteString(w, curlLines)
}

const curlLines = `  # the batch, and its first page of messages
  curl -H "Authorization: Bearer $KEY" "$URL/v1/send-jobs/$JOB"
  curl -H "Authorization: Bearer $KEY" "$URL/v1/send-jobs/$JOB/messages?limit=5"

  # one message: what the mail server answered, and the mail exactly as it left
  curl -H "Authorization: Bearer $KEY" "$URL/v1/messages/$MSG/attempts"
  curl -H "Authorization: Bearer $KEY" "$URL/v1/messages/$MSG/raw"

  # upload a file, then send a mail with an invoice that is stored already
  printf 'Bonjour' | curl -H "Authorization: Bearer $KEY" -H "Content-Type: text/plain" \
    --data-binary @- "$URL/v1/attachments?filename=bonjour.txt"
  curl -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" "$URL/v1/messages" -d '{
    "user_ref": "jdupont", "to": [{"address": "zoe.lambert@zoe.example"}],
    "subject": "Encore une fois", "text": "Bonjour, voici la facture.",
    "attachments": [{"id": "'"$PDF"'"}]}'
`
