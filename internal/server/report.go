package server

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// reportPage is how many messages of a report are held at once.
const reportPage = 500

// reportSendJob tells what became of every message of a job.
//
//	@Summary		Get the report of a send job
//	@Description	One line for each message: document, client, recipients, status, the reason in words, time, evidence. As JSON, or with `format=csv` (or an Accept header) as a table that Excel opens with a double click: UTF-8 with a byte order mark, semicolons, times as `2026-11-23 09:00:02` in the time zone Europe/Brussels, words and headings in the language asked for. A cell that Excel could take for a formula has an apostrophe before it, and a number that it would change, such as 0042 or 03-2026, is written as ="0042". The report is made while it is sent: a job that is not over may move on meanwhile.
//	@ID				reportSendJob
//	@Tags			send-jobs
//	@Produce		json,text/csv
//	@Param			id		path		string	true	"Id of the job."
//	@Param			format	query		string	false	"What to answer with."	Enums(json, csv)	default(json)
//	@Success		200		{object}	api.SendJobReport
//	@Router			/v1/send-jobs/{id}/report [get]
func (s *Server) reportSendJob(c *gin.Context) error {
	q := newQuery(c)
	format := q.oneOf("format", "json", "csv")
	if err := q.err(); err != nil {
		return err
	}
	if format == "" && c.NegotiateFormat("application/json", "text/csv") == "text/csv" {
		format = "csv"
	}
	j, err := s.jobInPath(c)
	if err != nil {
		return err
	}
	h := c.Writer.Header()
	var report reportWriter
	lang, now := language(c), time.Now()
	out := bufio.NewWriterSize(writerOnly{c.Writer}, 32<<10)
	if format == "csv" {
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		h.Set("Content-Disposition", disposition(reportName(j, now)))
		h.Set("Content-Language", lang)
		report = newReportTable(out, lang)
	} else {
		h.Set("Content-Type", "application/json")
		report = &reportDocument{w: out, job: j, at: now, lang: lang}
	}
	c.Writer.WriteHeader(http.StatusOK)
	if c.Request.Method == http.MethodHead {
		return nil
	}
	if err := s.writeReport(c, j, report, out); err != nil {
		if c.Request.Context().Err() == nil {
			s.log.Error("a report broke off", "request_id", requestID(c), "error", err)
		}
		panic(http.ErrAbortHandler) // the caller must see that it is not whole
	}
	return nil
}

// reportWriter is a form of the report.
type reportWriter interface {
	begin() error
	line(m *store.Reported) error
	end() error
}

func (s *Server) writeReport(c *gin.Context, j *store.Job, report reportWriter, out *bufio.Writer) error {
	control := http.NewResponseController(c.Writer)
	defer control.SetWriteDeadline(time.Time{}) //nolint:errcheck // a connection that is cut needs none
	if err := report.begin(); err != nil {
		return err
	}
	for after := ""; ; {
		page, err := s.store.ReportMessages(c.Request.Context(), j.TenantID, j.ID, after, reportPage)
		if err != nil {
			return err
		}
		control.SetWriteDeadline(time.Now().Add(time.Minute)) //nolint:errcheck // a writer of a test knows none
		for i := range page {
			if err := report.line(&page[i]); err != nil {
				return err
			}
		}
		if len(page) < reportPage {
			break
		}
		after = page[len(page)-1].ID
	}
	if err := report.end(); err != nil {
		return err
	}
	return out.Flush()
}

// reportName is the file's: what a person calls the job, and the day.
func reportName(j *store.Job, now time.Time) string {
	name := j.ID
	for _, better := range []string{j.Detail.ExternalID, j.Detail.Name} {
		if better != "" {
			name = better
		}
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-'
		}
		return r
	}, name)
	return strings.Trim(name, ". ") + " " + now.In(brussels()).Format(time.DateOnly) + ".csv"
}

// reportDocument is the report as JSON, a line of text for each message.
type reportDocument struct {
	w     io.Writer
	job   *store.Job
	at    time.Time
	lang  string
	lines int
}

func (d *reportDocument) begin() error {
	head, err := json.Marshal(api.SendJobReport{GeneratedAt: d.at.UTC().Truncate(time.Second), Job: jobOf(d.lang, d.job), Lines: []api.ReportLine{}})
	if err != nil {
		return err
	}
	_, err = d.w.Write(head[:len(head)-len("]}")])
	return err
}

func (d *reportDocument) line(m *store.Reported) error {
	b, err := json.Marshal(reportLine(d.lang, m))
	if err != nil {
		return err
	}
	before := ",\n"
	if d.lines == 0 {
		before = "\n"
	}
	d.lines++
	_, err = d.w.Write(append([]byte(before), b...))
	return err
}

func (d *reportDocument) end() error {
	_, err := io.WriteString(d.w, "\n]}\n")
	return err
}

// reportLine says in the reader's language what became of a message.
func reportLine(lang string, m *store.Reported) api.ReportLine {
	w := messageOf(lang, m.Message)
	l := api.ReportLine{
		ID: w.ID, ExternalID: w.ExternalID, Document: w.Document, Client: w.Client, Recipients: w.Recipients, Status: w.Status, Time: w.UpdatedAt,
		Evidence: evidenceOf(lang, m.Latest), Attempts: w.Attempts, MessageID: m.MessageIDHeader,
	}
	if w.SentAt != nil {
		l.Time = *w.SentAt
	}
	if w.Problem != nil {
		l.Code, l.Reason = w.Problem.Code, w.Problem.Title+". "+w.Problem.Detail
	}
	return l
}

// evidenceOf is what the far end said in an attempt, or in words what was seen of it.
func evidenceOf(lang string, a *store.Attempt) string {
	if a == nil {
		return ""
	}
	d := &a.Detail
	if a.Outcome == mail.OutcomeUncertain {
		return evidenceText(lang, a)
	}
	said := []string{d.Reply.String()}
	for i, r := range d.Recipients {
		const enough = 10
		if i == enough {
			said = append(said, "…")
			break
		}
		if r.Outcome != mail.OutcomeSent && !r.Reply.IsZero() && r.Reply != d.Reply {
			said = append(said, r.Address+": "+r.Reply.String())
		}
	}
	if d.Evidence != "" && !strings.Contains(said[0], d.Evidence) {
		said = append(said, d.Evidence)
	}
	if said[0] == "" {
		said = said[1:]
	}
	return strings.Join(said, "; ")
}
