package server

import (
	"context"
	"encoding/csv"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

const codeMonthInvalid = "month_invalid" // value

const monthFormat = "2006-01"

// month is the parameter month, in UTC; the current one when it is not there.
func (q *query) month() (from, to time.Time) {
	v := q.text("month")
	from = time.Now().UTC()
	if v != "" {
		var err error
		if from, err = time.Parse(monthFormat, v); err != nil || from.Year() < 1970 || from.Year() > 9998 {
			q.problems.Add("?month", codeMonthInvalid, "value", mail.Shown(v))
			from = time.Now().UTC()
		}
	}
	from = time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, time.UTC)
	return from, from.AddDate(0, 1, 0)
}

// getUsage counts what the firm sent in a month.
//
//	@Summary		Get the usage of a month
//	@Description	Counted when it is asked for, by when messages were accepted (UTC). It blocks nothing.
//	@ID				getUsage
//	@Tags			add-ons
//	@Produce		json
//	@Param			month	query		string	false	"The month, such as 2026-11. Default: the current one."
//	@Success		200		{object}	api.Usage
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/usage [get]
func (s *Server) getUsage(c *gin.Context) error {
	q := newQuery(c)
	from, to := q.month()
	if err := q.err(); err != nil {
		return err
	}
	list, err := s.store.Usage(c.Request.Context(), tenantOf(c), from, to)
	if err != nil {
		return err
	}
	w := api.Usage{Month: from.Format(monthFormat), Items: make([]api.UsageItem, len(list))}
	for i, u := range list {
		w.Items[i] = usageOf(u)
		w.Total = sum(w.Total, w.Items[i].UsageCounts)
	}
	return reply(c, http.StatusOK, w)
}

func usageOf(u *store.Usage) api.UsageItem {
	n := u.Outcomes
	ended := n[mail.StatusSent] + n[mail.StatusFailed] + n[mail.StatusUncertain] + n[mail.StatusCanceled]
	return api.UsageItem{ProfileID: u.ProfileID, ProfileName: u.ProfileName, Transport: u.Transport, UsageCounts: api.UsageCounts{
		Messages: u.Messages, Recipients: u.Recipients, RecipientsSent: u.RecipientsSent, Bytes: u.Bytes, Waiting: u.Messages - ended,
		Sent: n[mail.StatusSent], Failed: n[mail.StatusFailed], Uncertain: n[mail.StatusUncertain], Canceled: n[mail.StatusCanceled],
	}}
}

func sum(a, b api.UsageCounts) api.UsageCounts {
	return api.UsageCounts{
		Messages: a.Messages + b.Messages, Recipients: a.Recipients + b.Recipients, RecipientsSent: a.RecipientsSent + b.RecipientsSent,
		Bytes: a.Bytes + b.Bytes, Waiting: a.Waiting + b.Waiting, Sent: a.Sent + b.Sent, Failed: a.Failed + b.Failed,
		Uncertain: a.Uncertain + b.Uncertain, Canceled: a.Canceled + b.Canceled,
	}
}

// getUsageReport counts what all firms sent in a month.
//
//	@Summary		Get the usage of all tenants
//	@Description	To invoice from, as JSON, or as CSV in UTF-8 with one line for each tenant, profile and transport. In the CSV a text that a spreadsheet would take for a formula begins with an apostrophe.
//	@ID				getUsageReport
//	@Tags			tenants
//	@Produce		json
//	@Produce		text/csv
//	@Param			month	query		string	false	"The month, such as 2026-11. Default: the current one."
//	@Param			format	query		string	false	"Form of the answer."	Enums(json, csv)	default(json)
//	@Success		200		{object}	api.UsageReport
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/usage-report [get]
func (s *Server) getUsageReport(c *gin.Context) error {
	q := newQuery(c)
	from, to := q.month()
	format := q.oneOf("format", "json", "csv")
	if err := q.err(); err != nil {
		return err
	}
	month := from.Format(monthFormat)
	if format == "csv" {
		return s.usageCSV(c, month, from, to)
	}
	w := api.UsageReport{Month: month, Items: []api.UsageReportItem{}}
	err := s.eachUsage(c.Request.Context(), from, to, func(items []api.UsageReportItem) error {
		w.Items = append(w.Items, items...)
		return nil
	})
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, w)
}

// eachUsage gives what each tenant sent, one after the other.
func (s *Server) eachUsage(ctx context.Context, from, to time.Time, take func([]api.UsageReportItem) error) error {
	for page := (store.Page{Limit: store.MaxPage}); ; {
		tenants, err := s.store.ListTenants(ctx, page)
		if err != nil {
			return err
		}
		for _, t := range tenants.Items {
			days, err := s.store.AddOnDays(ctx, t.ID, store.AddOnSendGrid, from, to)
			if err != nil {
				return err
			}
			list, err := s.store.Usage(ctx, t.ID, from, to)
			if err != nil {
				return err
			}
			if len(list) == 0 && days > 0 { // the fee is due all the same
				list = []*store.Usage{{}}
			}
			items := make([]api.UsageReportItem, len(list))
			for i, u := range list {
				items[i] = api.UsageReportItem{TenantID: t.ID, TenantName: t.Name, SendGridDays: days, UsageItem: usageOf(u)}
			}
			if err := take(items); err != nil {
				return err
			}
		}
		if tenants.Next == "" {
			return nil
		}
		page.Cursor = tenants.Next
	}
}

var usageColumns = []string{
	"month", "tenant_id", "tenant_name", "sendgrid_days", "profile_id", "profile_name", "transport", "messages", "recipients", "recipients_sent", "bytes",
	"waiting", "sent", "failed", "uncertain", "canceled",
}

// usageCSV streams the report. Once it has begun, what goes wrong cuts the connection, so that nobody invoices from half of it.
func (s *Server) usageCSV(c *gin.Context, month string, from, to time.Time) error {
	h := c.Writer.Header()
	begun := false
	w := csv.NewWriter(c.Writer)
	w.UseCRLF = true // RFC 4180
	begin := func() error {
		if begun {
			return nil
		}
		begun = true
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		h.Set("Content-Disposition", `attachment; filename="usage-`+month+`.csv"`)
		c.Writer.WriteHeader(http.StatusOK)
		return w.Write(usageColumns)
	}
	err := s.eachUsage(c.Request.Context(), from, to, func(items []api.UsageReportItem) error {
		if err := begin(); err != nil {
			return err
		}
		for _, i := range items {
			n := func(v int64) string { return strconv.FormatInt(v, 10) }
			err := w.Write([]string{
				month, i.TenantID, cell(i.TenantName), strconv.Itoa(i.SendGridDays), i.ProfileID, cell(i.ProfileName), i.Transport, n(i.Messages), n(i.Recipients),
				n(i.RecipientsSent), n(i.Bytes), n(i.Waiting), n(i.Sent), n(i.Failed), n(i.Uncertain), n(i.Canceled),
			})
			if err != nil {
				return err
			}
		}
		w.Flush()
		return w.Error()
	})
	if err == nil {
		err = begin()
	}
	w.Flush()
	if err == nil {
		err = w.Error()
	}
	if err != nil && begun {
		s.log.Error("usage report broken off", "error", err)
		panic(http.ErrAbortHandler)
	}
	return err
}
