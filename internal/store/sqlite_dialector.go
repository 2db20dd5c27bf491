package store

import (
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/migrator"
	"gorm.io/gorm/schema"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDialector speaks gorm over modernc.org/sqlite. gorm's own driver would bring a second SQLite, in C. The schema is
// goose's business, so that nothing here makes tables.
type sqliteDialector struct{ conn *sql.DB }

var _ interface {
	gorm.Dialector
	gorm.ErrorTranslator
	gorm.SavePointerDialectorInterface
} = sqliteDialector{}

func (sqliteDialector) Name() string { return "sqlite" }

func (d sqliteDialector) Initialize(db *gorm.DB) error {
	db.ConnPool = d.conn
	callbacks.RegisterDefaultCallbacks(db, &callbacks.Config{
		CreateClauses:        []string{"INSERT", "VALUES", "ON CONFLICT", "RETURNING"},
		UpdateClauses:        []string{"UPDATE", "SET", "FROM", "WHERE", "RETURNING"},
		DeleteClauses:        []string{"DELETE", "FROM", "WHERE", "RETURNING"},
		LastInsertIDReversed: true,
	})
	// SQLite has no row locks and needs none: there is one writer.
	db.ClauseBuilders["FOR"] = func(c clause.Clause, b clause.Builder) {
		if _, locking := c.Expression.(clause.Locking); !locking {
			c.Build(b)
		}
	}
	db.ClauseBuilders["LIMIT"] = func(c clause.Clause, b clause.Builder) {
		limit, ok := c.Expression.(clause.Limit)
		if !ok {
			return
		}
		n := -1 // OFFSET cannot stand alone
		if limit.Limit != nil && *limit.Limit >= 0 {
			n = *limit.Limit
		}
		if n < 0 && limit.Offset <= 0 {
			return
		}
		b.WriteString("LIMIT " + strconv.Itoa(n)) //nolint:errcheck // a string builder
		if limit.Offset > 0 {
			b.WriteString(" OFFSET " + strconv.Itoa(limit.Offset)) //nolint:errcheck // a string builder
		}
	}
	return nil
}

func (sqliteDialector) BindVarTo(w clause.Writer, _ *gorm.Statement, _ any) {
	w.WriteByte('?') //nolint:errcheck // a string builder
}

// QuoteTo quotes a name, and each part of a dotted name.
func (sqliteDialector) QuoteTo(w clause.Writer, name string) {
	for i, part := range strings.Split(name, ".") {
		if i > 0 {
			w.WriteByte('.') //nolint:errcheck // a string builder
		}
		w.WriteString(`"` + strings.ReplaceAll(strings.Trim(part, `"`), `"`, `""`) + `"`) //nolint:errcheck // a string builder
	}
}

func (sqliteDialector) Explain(sql string, vars ...any) string {
	return logger.ExplainSQL(sql, nil, `'`, vars...)
}

func (sqliteDialector) DefaultValueOf(f *schema.Field) clause.Expression {
	if f.AutoIncrement {
		return clause.Expr{SQL: "NULL"}
	}
	return clause.Expr{SQL: "DEFAULT"}
}

func (sqliteDialector) DataTypeOf(f *schema.Field) string {
	switch f.DataType {
	case schema.Bool, schema.Int, schema.Uint:
		return "integer"
	case schema.Float:
		return "real"
	case schema.Bytes:
		return "blob"
	}
	return "text"
}

func (d sqliteDialector) Migrator(db *gorm.DB) gorm.Migrator {
	return migrator.Migrator{Config: migrator.Config{DB: db, Dialector: d}}
}

func (sqliteDialector) SavePoint(tx *gorm.DB, name string) error {
	return tx.Exec("SAVEPOINT " + name).Error
}

func (sqliteDialector) RollbackTo(tx *gorm.DB, name string) error {
	return tx.Exec("ROLLBACK TO SAVEPOINT " + name).Error
}

// Translate gives gorm's errors for broken constraints, https://www.sqlite.org/rescode.html.
func (sqliteDialector) Translate(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return errors.Join(gorm.ErrDuplicatedKey, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return errors.Join(gorm.ErrForeignKeyViolated, err)
	}
	return err
}
