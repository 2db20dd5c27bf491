package demo

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
)

// screen writes for a person: 100 columns at most, a moving bar on a terminal, plain lines elsewhere.
type screen struct {
	w        io.Writer
	terminal bool
}

func (s screen) title(text string) { fmt.Fprintf(s.w, "\n%s\n\n", text) }

// done tells one finished step.
func (s screen) done(format string, args ...any) {
	fmt.Fprintf(s.w, "  ✓ %s\n", fmt.Sprintf(format, args...))
}

// note adds to the step before.
func (s screen) note(format string, args ...any) {
	fmt.Fprintf(s.w, "      %s\n", fmt.Sprintf(format, args...))
}

// progress shows how many of total units are through; step is called with the whole count, end when there is no more to come.
func (s screen) progress(label, unit string, total int) (step func(n int), end func()) {
	if !s.terminal {
		shown := 0
		return func(n int) {
			if n == total || n-shown >= max(1, total/4) {
				fmt.Fprintf(s.w, "    %s %d of %d %s\n", label, n, total, unit)
				shown = n
			}
		}, func() {}
	}
	bar := progressbar.NewOptions(total,
		progressbar.OptionSetWriter(s.w),
		progressbar.OptionSetDescription("    "+label),
		progressbar.OptionSetWidth(40),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(unit),
		progressbar.OptionThrottle(40*time.Millisecond),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}),
	)
	return func(n int) { _ = bar.Set(n) }, func() { fmt.Fprintln(s.w) }
}

// outcomes counts messages by language and status.
type outcomes map[string]map[string]int

func (o outcomes) add(language, status string) {
	if o[language] == nil {
		o[language] = map[string]int{}
	}
	o[language][status]++
}

// table has a row for each language and a column for each status that occurs; sent always does.
func (s screen) table(o outcomes) {
	seen := map[string]bool{"sent": true}
	for _, byStatus := range o {
		for status := range byStatus {
			seen[status] = true
		}
	}
	statuses := slices.Sorted(maps.Keys(seen))
	slices.SortStableFunc(statuses, func(a, b string) int { return rank(a) - rank(b) })

	row := func(name string, cell func(status string) string) {
		fmt.Fprintf(s.w, "  %-12s", name)
		for _, status := range statuses {
			fmt.Fprintf(s.w, "%12s", cell(status))
		}
		fmt.Fprintln(s.w)
	}
	rule := "  " + strings.Repeat("─", 12+12*len(statuses))
	row("language", func(status string) string { return status })
	fmt.Fprintln(s.w, rule)
	total := map[string]int{}
	for _, language := range slices.Sorted(maps.Keys(o)) {
		row(language, func(status string) string {
			total[status] += o[language][status]
			return fmt.Sprint(o[language][status])
		})
	}
	fmt.Fprintln(s.w, rule)
	row("all", func(status string) string { return fmt.Sprint(total[status]) })
}

func rank(status string) int {
	if status == "sent" {
		return 0
	}
	return 1
}

// letter shows a mail as the person who gets it reads it.
func (s screen) letter(m received) {
	const width = 96
	line := func(text string) { fmt.Fprintf(s.w, "  │ %s\n", text) }
	fmt.Fprintf(s.w, "  ┌%s\n", strings.Repeat("─", width))
	for _, name := range []string{"From", "To", "Subject", "Date"} {
		line(fmt.Sprintf("%-8s %s", name+":", m.field(name)))
	}
	line("")
	for text := range strings.SplitSeq(strings.TrimRight(m.Text, "\n"), "\n") {
		for _, part := range wrap(text, width-2) {
			line(part)
		}
	}
	line("")
	for _, f := range m.Files {
		line(fmt.Sprintf("[attached] %-22s %-18s %6d bytes   sha256 %s…", f.Name, f.MediaType, f.Size, f.SHA256[:16]))
	}
	fmt.Fprintf(s.w, "  └%s\n", strings.Repeat("─", width))
}

// wrap breaks a line at spaces.
func wrap(text string, width int) []string {
	var lines []string
	for utf8.RuneCountInString(text) > width {
		cut := strings.LastIndex(string([]rune(text)[:width+1]), " ")
		if cut <= 0 {
			break
		}
		lines = append(lines, text[:cut])
		text = text[cut+1:]
	}
	return append(lines, text)
}
