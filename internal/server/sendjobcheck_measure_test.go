//go:build measure

package server

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/demo"
)

// With the tag measure, because it takes a minute: how long the check of 10,000 invoices takes, with a PDF of 100 KB each. Beside it, as the machine's measure, what
// it takes to hash as many bytes as the files have.
func TestMeasureTheCheckOf10000(t *testing.T) {
	onBoth(t, func(h *house) {
		w := newCheckWorld(h)
		pad := strings.Repeat("% padding of a page\n", 5000)
		for i := range 10_000 {
			s, err := demo.NewSample(i + 1)
			if err != nil {
				h.Fatal(err)
			}
			pdf := strings.Replace(string(s.PDF), "xref\n", pad+"xref\n", 1)
			w.mails = append(w.mails, object{
				"to": []any{object{"address": s.Address}}, "language": s.Language, "document": object{"type": "invoice", "number": fmt.Sprintf("2026/%05d", i)},
				"client": object{"ref": fmt.Sprint(i), "name": s.Name}, "tokens": object{"MONTANT": "1 €"},
				"attachments": []any{object{"id": w.upload("i.pdf", "invoice_pdf", "application/pdf", pdf)}},
			})
		}
		body, err := json.Marshal(object{"company_ref": "C001", "messages": w.mails})
		if err != nil {
			h.Fatal(err)
		}
		w.mails = nil
		for range 3 {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			a := h.do(h.ours.send, "POST", "/v1/send-jobs/check", string(body))
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if a.Code != http.StatusOK || a.doc["ready"] != true || a.doc["messages"] != 10_000.0 {
				h.Fatalf("%d %.300s", a.Code, a.Body)
			}
			start = time.Now()
			for range 10_000 {
				sha256.Sum256([]byte(pad))
			}
			h.Logf("check of 10,000: %v; SHA-256 of as many bytes: %v; heap from the system: %d MiB, %d before", took, time.Since(start), after.HeapSys>>20, before.HeapSys>>20)
		}
	})
}
