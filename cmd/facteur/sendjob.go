package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/pkg/client"
)

// sendJobs are the commands that ask a running service about a send job, from any machine.
type sendJobs struct {
	Watch  sendJobWatchCmd  `cmd:"" help:"Follow a send job until it is over. Exit code 0: all of it was sent; 3: not all of it."`
	Report sendJobReportCmd `cmd:"" help:"Print what became of the messages of a send job."`
}

// errNotAllSent is the outcome of a job, no failure of the command: it has an exit code of its own.
type errNotAllSent struct{ id string }

func (e errNotAllSent) Error() string {
	return "not all of it was sent; facteur send-job report " + e.id + " says why"
}
func (errNotAllSent) ExitCode() int { return 3 }

// client is for the service that FACTEUR_URL names.
func (a *app) client(language string) (*client.Client, error) {
	if a.config.Key == "" {
		return nil, errors.New("FACTEUR_KEY (or FACTEUR_KEY_FILE) must hold an API key with the scope read; facteur key create makes one")
	}
	return client.New(a.config.URL, string(a.config.Key), client.Language(language))
}

type sendJobWatchCmd struct {
	ID string `arg:"" help:"Id of the job: job_..."`
}

func (cmd sendJobWatchCmd) Run(a *app) error {
	c, err := a.client("en")
	if err != nil {
		return err
	}
	var job api.SendJob
	var show jobScreen = &jobLines{w: a.stdout}
	if isTerminal(a.stdout) {
		show = &jobBar{w: a.stdout}
	}
	for job, err = range c.WatchSendJob(a.ctx, cmd.ID) {
		if err != nil {
			break
		}
		show.job(job)
	}
	show.end()
	if a.ctx.Err() != nil {
		return errors.New("the watching was stopped; the job goes on")
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s of %s. It is over.\n", outcome(job), plural(job.Total, "message"))
	if job.Counts.Sent < job.Total || job.Partial > 0 {
		return errNotAllSent{job.ID}
	}
	return nil
}

// jobScreen shows how a job goes on.
type jobScreen interface {
	job(api.SendJob)
	end()
}

// jobLines is for a file or another program: a line for every tenth of the job, and when something is the matter with more messages.
type jobLines struct {
	w    io.Writer
	last string
}

func (l *jobLines) job(j api.SendJob) {
	n := j.Counts
	mark := fmt.Sprint(j.Done*10/max(j.Total, 1), n.Failed, n.Uncertain, n.Held, j.Over)
	if mark == l.last {
		return
	}
	l.last = mark
	fmt.Fprintf(l.w, "%d of %d done: %s%s\n", j.Done, j.Total, outcome(j), pace(j))
}

func (*jobLines) end() {}

// jobBar is a moving bar for a person.
type jobBar struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

func (b *jobBar) job(j api.SendJob) {
	if b.bar == nil {
		fmt.Fprintf(b.w, "%s\n", jobTitle(j)) // before the bar, which shows at once
		b.bar = progressbar.NewOptions(max(j.Total, 1),
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetWidth(20),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetRenderBlankState(true),
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}),
		)
	}
	j.Partial = 0 // the line has little room; the end says it
	b.bar.Describe(outcome(j) + pace(j))
	_ = b.bar.Set(j.Done + j.Counts.Uncertain)
}

func (b *jobBar) end() {
	if b.bar != nil {
		fmt.Fprintln(b.w)
	}
}

func jobTitle(j api.SendJob) string {
	if j.Name != "" {
		return j.Name + " (" + j.ID + ")"
	}
	return j.ID
}

// outcome is the counts in words; what there is none of is left out, except for what was sent.
func outcome(j api.SendJob) string {
	n := j.Counts
	parts := []string{fmt.Sprintf("%d sent", n.Sent)}
	if j.Partial > 0 {
		parts[0] += fmt.Sprintf(" (%d not to every recipient)", j.Partial)
	}
	for _, c := range []struct {
		n    int
		word string
	}{{n.Failed, "failed"}, {n.Uncertain, "uncertain"}, {n.Canceled, "canceled"}, {n.Held, "on hold"}, {n.Deferred, "to be tried again"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	return strings.Join(parts, ", ")
}

// pace is how fast it goes, and until when.
func pace(j api.SendJob) string {
	if j.Over || j.Rate == 0 {
		return ""
	}
	text := fmt.Sprintf(", %.3g a second", j.Rate)
	if j.EstimatedEnd != nil {
		text += " until " + j.EstimatedEnd.Local().Format(time.TimeOnly)
	}
	return text
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

type sendJobReportCmd struct {
	ID       string `arg:"" help:"Id of the job: job_..."`
	CSV      bool   `help:"All messages, as a table for Excel; send it to a file: > report.csv"`
	Language string `help:"Language of the texts: fr, nl, en or de." default:"en"`
}

func (cmd sendJobReportCmd) Run(a *app) error {
	c, err := a.client(cmd.Language)
	if err != nil {
		return err
	}
	if cmd.CSV {
		table, err := c.SendJobReportCSV(a.ctx, cmd.ID)
		if err != nil {
			return err
		}
		defer table.Close()
		if _, err := io.Copy(a.stdout, table); err != nil {
			return fmt.Errorf("the report is not whole: %w", err)
		}
		return nil
	}
	report, err := c.SendJobReport(a.ctx, cmd.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s: %s of %s\n", jobTitle(report.Job), outcome(report.Job), plural(report.Job.Total, "message"))
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, l := range report.Lines {
		if l.Status == "sent" && l.Code == "" {
			continue
		}
		document := l.ID
		if l.Document != nil && l.Document.Number != "" {
			document = l.Document.Number
		}
		var to []string
		for _, r := range l.Recipients {
			to = append(to, r.Address)
		}
		title, _, _ := strings.Cut(l.Reason, ". ")
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", l.Status, document, strings.Join(to, ", "), title)
	}
	return w.Flush()
}
