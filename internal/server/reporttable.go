package server

import (
	"encoding/csv"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// reportColumns are the keys of the headings.
var reportColumns = []string{
	"document_type", "document_number", "document_date", "client_ref", "client", "recipients", "status", "reason", "time", "evidence", "attempts",
	"external_id", "message", "message_id",
}

// labels are the columns whose numbers are names: a spreadsheet may not calculate with them.
var labels = map[string]bool{"document_number": true, "client_ref": true, "external_id": true}

// excelTime is read as a date and a time by Excel in every language: no order of day and month to guess.
const excelTime = "2006-01-02 15:04:05"

var brussels = sync.OnceValue(func() *time.Location {
	l, err := time.LoadLocation("Europe/Brussels")
	if err != nil {
		return time.UTC // cannot happen: the time zones are in the program
	}
	return l
})

// reportTable is the report as CSV (RFC 4180), in the way that Excel opens it in Belgium: without a byte order mark it takes UTF-8
// for an old code page, and its separator there is the semicolon.
type reportTable struct {
	out  io.Writer
	w    *csv.Writer
	lang string
}

func newReportTable(out io.Writer, lang string) *reportTable {
	w := csv.NewWriter(out)
	w.Comma, w.UseCRLF = ';', true
	return &reportTable{out, w, lang}
}

func (t *reportTable) begin() error {
	if _, err := io.WriteString(t.out, "\ufeff"); err != nil {
		return err
	}
	head := make([]string, len(reportColumns))
	for i, key := range reportColumns {
		head[i] = texts.Word(t.lang, "report", key)
	}
	return t.w.Write(head)
}

func (t *reportTable) line(m *store.Reported) error {
	l := reportLine(t.lang, m)
	var d api.Document
	if l.Document != nil {
		d = *l.Document
	}
	var client api.Client
	if l.Client != nil {
		client = *l.Client
	}
	kind := texts.Word(t.lang, "document", d.Type)
	if d.ReminderLevel > 0 {
		kind += " " + strconv.Itoa(d.ReminderLevel)
	}
	row := []string{
		kind, d.Number, d.Date, client.Ref, client.Name, t.recipients(l), texts.Word(t.lang, "status", l.Status), l.Reason,
		l.Time.In(brussels()).Format(excelTime), l.Evidence, strconv.Itoa(l.Attempts), l.ExternalID, l.ID, l.MessageID,
	}
	for i := range row {
		if row[i] = cell(row[i]); labels[reportColumns[i]] && recast(row[i]) {
			row[i] = `="` + row[i] + `"` // digits and separators alone
		}
	}
	return t.w.Write(row)
}

// recipients lists the addresses; those that did not go the way of the message say so.
func (t *reportTable) recipients(l api.ReportLine) string {
	list := make([]string, len(l.Recipients))
	for i, r := range l.Recipients {
		list[i] = r.Address
		if l.Status == string(mail.StatusSent) && r.Status != l.Status {
			list[i] = r.Address + " (" + texts.Word(t.lang, "status", r.Status) + ")"
		}
	}
	return strings.Join(list, ", ")
}

func (t *reportTable) end() error {
	t.w.Flush()
	return t.w.Error()
}

// cell is a text on one line that no spreadsheet takes for a formula (https://owasp.org/www-community/attacks/CSV_Injection).
func cell(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" || !strings.ContainsRune("=+-@＝＋－＠", []rune(s)[0]) || isNumber(s) {
		return s
	}
	return "'" + s
}

// isNumber says that a text with a sign is a number, perhaps of a telephone, or no more than a dash: nothing that can do harm.
func isNumber(s string) bool {
	return s == "-" || strings.Trim(s[:1], "+-") == "" && strings.Trim(s[1:], "0123456789 .,()") == ""
}

var (
	looksNumeric = regexp.MustCompile(`^(0\d+|\d{16,}|\d+[eE][+-]?\d+|\d+,\d*0)$`)
	looksDated   = regexp.MustCompile(`^(\d\d?|[1-9]\d{3})[-/.: ](\d\d?|[1-9]\d{3})([-/.: ](\d\d?|[1-9]\d{3}))?$`)
	twoYears     = regexp.MustCompile(`\d{4}.*\d{4}`)
)

// recast says that Excel would show a text as something else: 0042 as 42, 03-2026 as a day in March, 1E5 as 100000.
func recast(s string) bool {
	return looksNumeric.MatchString(s) || looksDated.MatchString(s) && !twoYears.MatchString(s)
}
