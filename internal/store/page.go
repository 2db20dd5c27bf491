package store

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// MaxPage is the most items of one page.
const MaxPage = 200

const defaultPage = 50

// Page asks for a part of a list, newest first.
type Page struct {
	Cursor string // List.Next of the page before; empty: the first page
	Limit  int    // 1..MaxPage; 0: 50
}

// List is one page.
type List[T any] struct {
	Items []T
	Next  string // cursor of the next page; empty: this is the last
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return defaultPage
	}
	return min(p.Limit, MaxPage)
}

// after is the id that the page begins below; empty for the first page.
func (p Page) after() (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	id, ok := strings.CutPrefix(string(b), "<")
	if err != nil || !ok || len(id) > 64 {
		return "", ErrCursor
	}
	return id, nil
}

func cursor(id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("<" + id))
}

// list runs a query of rows by id descending, one row more than asked for, and converts what belongs to the page.
func list[R, T any](q *gorm.DB, p Page, idColumn string, id func(*R) string, convert func(*R) (T, error)) (*List[T], error) {
	after, err := p.after()
	if err != nil {
		return nil, err
	}
	if after != "" {
		q = q.Where(idColumn+" < ?", after)
	}
	var rows []R
	if err := q.Order(idColumn + " DESC").Limit(p.limit() + 1).Find(&rows).Error; err != nil {
		return nil, failed("list", err)
	}
	l := &List[T]{Items: make([]T, 0, len(rows))}
	if len(rows) > p.limit() {
		rows = rows[:p.limit()]
		l.Next = cursor(id(&rows[len(rows)-1]))
	}
	for i := range rows {
		item, err := convert(&rows[i])
		if err != nil {
			return nil, err
		}
		l.Items = append(l.Items, item)
	}
	return l, nil
}

// failed turns a database error into the package's own.
func failed(doing string, err error) error {
	for _, own := range []error{ErrNotFound, ErrVersion, ErrConflict, ErrKeyUsed, ErrInUse, ErrSealed} {
		if errors.Is(err, own) {
			return own
		}
	}
	if err == nil {
		return nil
	}
	cause := sqliteDialector{}.Translate(err)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) { // of a query by hand; gorm translates its own
		cause = postgres.Dialector{}.Translate(pg)
	}
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound), noRows(err):
		return ErrNotFound
	case errors.Is(cause, gorm.ErrForeignKeyViolated): // what it refers to is not this tenant's
		return ErrNotFound
	case errors.Is(cause, gorm.ErrDuplicatedKey):
		return ErrConflict
	}
	return fmt.Errorf("store: %s: %w", doing, err)
}
