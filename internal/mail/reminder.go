package mail

import (
	"html"
	"strings"
	"unicode/utf8"
)

// reminderHeadings are the column headings of {REMINDER} in one language.
type reminderHeadings struct {
	number, date, dueDate, amount, open string
}

// reminderTable is the table that {REMINDER} becomes: a heading and one row per unpaid document. The due date and what is
// still open are columns only when some row has them.
type reminderTable struct {
	rows  [][]string
	right []bool // by column: amounts are aligned right
}

func newReminderTable(items []ReminderItem, l *locale) reminderTable {
	var due, open bool
	for _, it := range items {
		due = due || it.DueDate != ""
		open = open || it.Open != ""
	}
	h := l.reminder
	row := func(number, date, dueDate, amount, rest string) []string {
		cells := []string{number, date}
		if due {
			cells = append(cells, dueDate)
		}
		cells = append(cells, amount)
		if open {
			cells = append(cells, rest)
		}
		return cells
	}
	t := reminderTable{rows: [][]string{row(h.number, h.date, h.dueDate, h.amount, h.open)}}
	for _, it := range items {
		rest := it.Open
		if rest == "" {
			rest = it.Amount
		}
		t.rows = append(t.rows, row(it.Number, l.day(it.Date), l.day(it.DueDate), it.Amount, rest))
	}
	t.right = make([]bool, len(t.rows[0]))
	for i := range t.right {
		t.right[i] = i > 2 || i == 2 && !due
	}
	return t
}

// text is the table in plain text: columns aligned with spaces, a rule under the heading, LF between the lines and none at
// the end.
func (t reminderTable) text() string {
	widths := make([]int, len(t.right))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, 0, len(t.rows)+1)
	var b strings.Builder
	for n, row := range t.rows {
		b.Reset()
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.right[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
		if n == 0 {
			total := 2 * (len(widths) - 1)
			for _, w := range widths {
				total += w
			}
			lines = append(lines, strings.Repeat("-", total))
		}
	}
	return strings.Join(lines, "\n")
}

// html is the table with inline styles, the only ones that every mail client keeps.
func (t reminderTable) html() string {
	var b strings.Builder
	b.WriteString(`<table border="0" cellspacing="0" cellpadding="0" style="border-collapse:collapse">`)
	for n, row := range t.rows {
		b.WriteString("\n<tr>")
		for i, cell := range row {
			tag, line := "td", "1px solid #cccccc"
			if n == 0 {
				tag, line = "th", "2px solid #666666"
			}
			align := "left"
			if t.right[i] {
				align = "right"
			}
			b.WriteString("<" + tag + ` align="` + align + `" style="padding:4px 10px;border-bottom:` + line + `;text-align:` + align)
			if t.right[i] {
				b.WriteString(";white-space:nowrap")
			}
			b.WriteString(`">` + html.EscapeString(cell) + "</" + tag + ">")
		}
		b.WriteString("</tr>")
	}
	b.WriteString("\n</table>")
	return b.String()
}
