package server

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

func TestReport(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		const n = reportPage + 3 // more than a page
		messages := make([]any, n)
		for i := range messages {
			messages[i] = with{
				"document": object{"type": "invoice", "number": fmt.Sprintf("2026/%d", i), "date": "2026-11-23"}, "external_id": fmt.Sprintf("F;%d", i),
				"client": object{"ref": "=1+1", "name": "Café \"Zoë\"  de Gand"},
			}.of(f.invoice())
		}
		job := h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", object{"company_ref": "C001", "name": "Novembre: 1/2", "messages": messages}).text("id")
		h.cancelOne(job)
		path := "/v1/send-jobs/" + job + "/report"

		a := h.must(http.StatusOK, h.ours.read, "GET", path, nil)
		var doc api.SendJobReport
		if err := json.Unmarshal(a.Body.Bytes(), &doc); err != nil {
			h.Fatal(err)
		}
		if doc.Job.ID != job || doc.Job.Counts.Canceled != 1 || doc.Job.Version == "" || doc.GeneratedAt.IsZero() || len(doc.Lines) != n {
			h.Errorf("%d lines of %+v", len(doc.Lines), doc.Job)
		}
		numbers, canceled := map[string]bool{}, 0
		for i, l := range doc.Lines {
			if l.ExternalID != fmt.Sprintf("F;%d", i) {
				h.Fatalf("line %d is %s: not in the order of the request", i, l.ExternalID)
			}
			numbers[l.Document.Number] = true
			if l.Status == "canceled" {
				canceled++
			}
			if !strings.HasPrefix(l.MessageID, "<") || len(l.Recipients) != 1 || l.Client.Ref != "=1+1" || l.Time.IsZero() {
				h.Fatalf("%+v", l)
			}
		}
		if len(numbers) != n || canceled != 1 {
			h.Errorf("%d documents, %d canceled", len(numbers), canceled)
		}

		for _, ask := range []func() answered{
			func() answered {
				return h.must(http.StatusOK, h.ours.read, "GET", path+"?format=csv", nil, "Accept-Language", "fr")
			},
			func() answered {
				return h.must(http.StatusOK, h.ours.read, "GET", path, nil, "Accept", "text/csv", "Accept-Language", "fr-BE")
			},
		} {
			a := ask()
			if got := a.Header().Get("Content-Disposition"); got != `attachment; filename="Novembre- 1-2 `+time.Now().In(brussels()).Format(time.DateOnly)+`.csv"` {
				h.Errorf("the file's name: %s", got)
			}
			body, ok := bytes.CutPrefix(a.Body.Bytes(), []byte("\xef\xbb\xbf"))
			if !ok || !bytes.HasSuffix(body, []byte("\r\n")) || bytes.Count(body, []byte("\n")) != n+1 || bytes.Count(body, []byte("\r\n")) != n+1 {
				h.Fatalf("not as Excel wants it: %.300s", body)
			}
			r := csv.NewReader(bytes.NewReader(body))
			r.Comma = ';'
			rows, err := r.ReadAll()
			if err != nil || len(rows) != n+1 {
				h.Fatalf("%d rows, %v", len(rows), err)
			}
			if head := strings.Join(rows[0], "|"); !strings.HasPrefix(head, "Document|Numéro|Date|Code client|Client|Destinataires|Statut|Motif|Heure (Bruxelles)|") {
				h.Error(head)
			}
			row := rows[1]
			if row[0] != "Facture" || row[1] != `="2026/0"` || row[3] != "'=1+1" || row[4] != `Café "Zoë" de Gand` || row[5] != "client@zoe.example" ||
				!regexp.MustCompile(`^2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d$`).MatchString(row[8]) || !strings.HasPrefix(row[11], "F;") {
				h.Errorf("%q", row)
			}
		}
		for _, path := range []string{path, "/v1/send-jobs/job_none/report"} {
			h.must(http.StatusNotFound, h.theirs.read, "GET", path, nil)
		}
		h.must(http.StatusUnprocessableEntity, h.ours.read, "GET", path+"?format=xml", nil)
		if a := h.must(http.StatusOK, h.ours.read, "HEAD", path+"?format=csv", nil); a.Body.Len() != 0 {
			h.Errorf("HEAD: %s", a.Body)
		}
	})
}

// Times are Belgian, in summer and in winter, and in a form that has one meaning.
func TestReportTimes(t *testing.T) {
	for utc, want := range map[string]string{
		"2026-07-01T22:30:05Z": "2026-07-02 00:30:05", "2026-12-31T23:00:00Z": "2027-01-01 00:00:00", "2026-10-25T00:30:00Z": "2026-10-25 02:30:00",
	} {
		at, err := time.Parse(time.RFC3339, utc)
		if err != nil {
			t.Fatal(err)
		}
		if got := at.In(brussels()).Format(excelTime); got != want {
			t.Errorf("%s is %s, want %s", utc, got, want)
		}
	}
}

// The numbers of documents and clients are shown as they are, and nothing that could do harm is made a formula.
func TestRecast(t *testing.T) {
	for s, want := range map[string]bool{
		"0042": true, "000": true, "1E5": true, "12e-3": true, "03-2026": true, "2026-11": true, "2026/5": true, "1/2": true, "1.10": true, "12:30": true,
		"24-11-2026": true, "12345678901234567": true, "12,50": true,
		"": false, "0": false, "42": false, "2026001": false, "2026/0042": false, "2026-0042": false, "2026/123": false, "2026/1142": false, "F2026-11": false,
		"12,5": false, "1-2-3-4": false, `0042"`: false, `1";=1+1`: false, "=1E5": false, "'=1": false, "1\n2": false,
	} {
		if got := recast(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestCells(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "-": "-", "Zoë": "Zoë", "a=b": "a=b", "client@zoe.example": "client@zoe.example", "2026/0042": "2026/0042",
		"+32 2 123.45.67": "+32 2 123.45.67", "+32 (0)2 123": "+32 (0)2 123", "-12,50": "-12,50",
		"=1+1": "'=1+1", "+1+1": "'+1+1", "-1-1": "'-1-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'=1", "\r\n=1": "'=1", " =1": "'=1", "＝1": "'＝1",
		"-2+3+cmd|' /C calc'!A0": "'-2+3+cmd|' /C calc'!A0", "--": "'--", "+SUM(1,2)": "'+SUM(1,2)", "one\nline": "one line",
	} {
		if got := cell(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func FuzzCell(f *testing.F) {
	for _, s := range []string{"", "=1", "-\t@", "+32 2", "é\n", "\xff=", ";\"", " -1"} {
		f.Add(s)
	}
	formula := regexp.MustCompile(`^([=@＝＋－＠]|[+-].*[^0-9 .,()])`)
	f.Fuzz(func(t *testing.T, s string) {
		got := cell(s)
		if formula.MatchString(got) || strings.ContainsAny(got, "\t\r\n") || utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}

func TestEvidence(t *testing.T) {
	no := mail.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user"}
	for _, tt := range []struct {
		name    string
		attempt *store.Attempt
		want    string
	}{
		{"none", nil, ""},
		{"said twice", &store.Attempt{Outcome: mail.OutcomeSent, Detail: store.AttemptDetail{
			Reply: mail.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as 4XyZ1"}, Evidence: "4XyZ1",
		}}, "250 2.0.0 queued as 4XyZ1"},
		{"an id alone", &store.Attempt{Outcome: mail.OutcomeSent, Detail: store.AttemptDetail{Evidence: "18f2"}}, "18f2"},
		{"sent to one of two", &store.Attempt{Outcome: mail.OutcomeSent, Detail: store.AttemptDetail{
			Reply: mail.Reply{Code: 250, Text: "ok"}, Recipients: []mail.RecipientVerdict{
				{Address: "a@zoe.example", Outcome: mail.OutcomeSent, Reply: mail.Reply{Code: 250}}, {Address: "b@zoe.example", Outcome: mail.OutcomePermanent, Reply: no},
			},
		}}, "250 ok; b@zoe.example: 550 5.1.1 no such user"},
		{"refused", &store.Attempt{Outcome: mail.OutcomePermanent, Detail: store.AttemptDetail{
			Reply: no, Recipients: []mail.RecipientVerdict{{Address: "b@zoe.example", Outcome: mail.OutcomePermanent, Reply: no}},
		}}, "550 5.1.1 no such user"},
		{"uncertain", &store.Attempt{Outcome: mail.OutcomeUncertain, Detail: store.AttemptDetail{
			Step: "final", Reply: mail.Reply{Text: mail.LineTimeout}, Evidence: "after the whole mail: no answer in time",
		}}, "The whole mail was handed over, and no answer came in the time that there is for it."},
		{"interrupted", &store.Attempt{Outcome: mail.OutcomeUncertain, Detail: store.AttemptDetail{Code: mail.CodeWorkerLost}},
			"The service itself was interrupted while it was handing the mail over, before it had written down the answer."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := evidenceOf("en", tt.attempt); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
