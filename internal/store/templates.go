package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/winprest/facteur/internal/mail"
)

// TemplateFilter selects templates; zero fields select everything.
type TemplateFilter struct {
	DocumentType, CompanyRef string
}

type templateRow struct {
	ID           string
	TenantID     string
	Version      int64
	Name         string
	DocumentType string
	CompanyRef   string
	IsDefault    bool
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
	UpdatedAt    int64 `gorm:"autoUpdateTime:false"`
	DeletedAt    *int64

	Document string `gorm:"->;-:migration"` // of the version that was asked for; a column of template_versions
}

func (templateRow) TableName() string { return "templates" }

type templateVersionRow struct {
	TenantID   string
	TemplateID string `gorm:"primaryKey"`
	Version    int64  `gorm:"primaryKey;autoIncrement:false"`
	Document   string
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
}

func (templateVersionRow) TableName() string { return "template_versions" }

// templateDocument is the JSON of template_versions.document.
type templateDocument struct {
	DefaultLanguage string                      `json:"default_language"`
	Translations    map[string]mail.Translation `json:"translations"`
	Tokens          []string                    `json:"tokens,omitempty"`
}

func templateRows(t *mail.Template) (*templateRow, *templateVersionRow, error) {
	doc, err := json.Marshal(templateDocument{t.DefaultLanguage, t.Translations, t.Tokens})
	if err != nil {
		return nil, nil, fmt.Errorf("store: template document: %w", err)
	}
	row := &templateRow{
		ID: t.ID, TenantID: t.TenantID, Version: t.Version, Name: t.Name, DocumentType: t.DocumentType, CompanyRef: t.CompanyRef,
		IsDefault: t.Default, CreatedAt: micros(t.CreatedAt), UpdatedAt: micros(t.UpdatedAt),
	}
	version := &templateVersionRow{TenantID: t.TenantID, TemplateID: t.ID, Version: t.Version, Document: string(doc), CreatedAt: micros(t.UpdatedAt)}
	return row, version, nil
}

func (r *templateRow) template() (*mail.Template, error) {
	var doc templateDocument
	if err := json.Unmarshal([]byte(r.Document), &doc); err != nil {
		return nil, fmt.Errorf("store: document of %s: %w", r.ID, err)
	}
	return &mail.Template{
		ID: r.ID, TenantID: r.TenantID, Version: r.Version, Name: r.Name, DocumentType: r.DocumentType, CompanyRef: r.CompanyRef,
		Default: r.IsDefault, DefaultLanguage: doc.DefaultLanguage, Translations: doc.Translations, Tokens: doc.Tokens,
		CreatedAt: fromMicros(r.CreatedAt), UpdatedAt: fromMicros(r.UpdatedAt),
	}, nil
}

// templates begins a query of templates t with their versions v. A template is one row for each version until a condition
// picks one.
func templates(q *gorm.DB) *gorm.DB {
	return q.Table("templates t").Select("t.*, v.document").Joins("JOIN template_versions v ON v.template_id = t.id AND v.tenant_id = t.tenant_id")
}

func currentTemplates(q *gorm.DB) *gorm.DB {
	return templates(q).Where("v.version = t.version AND t.deleted_at IS NULL")
}

// CreateTemplate stores a template with version 1. A new default takes the place of the old one. See CreateTenant for rec.
func (s *Store) CreateTemplate(ctx context.Context, t *mail.Template, rec *IdempotencyRecord) error {
	fill("tpl", &t.ID, &t.CreatedAt)
	t.Version, t.UpdatedAt = 1, t.CreatedAt
	row, version, err := templateRows(t)
	if err != nil {
		return err
	}
	return s.create(ctx, "create template", rec, func(tx *gorm.DB) error {
		if err := yieldDefaultTemplate(tx, row); err != nil {
			return err
		}
		if err := tx.Create(row).Error; err != nil {
			return err
		}
		return tx.Create(version).Error
	})
}

// Template gives a template as it is now.
func (s *Store) Template(ctx context.Context, tenantID, id string) (*mail.Template, error) {
	return oneTemplate(currentTemplates(s.ro.WithContext(ctx)).Where("t.tenant_id = ? AND t.id = ?", tenantID, id))
}

// TemplateVersion gives the texts of a version, also of a template that was deleted since. What is not text (name, default)
// is as it is now.
func (s *Store) TemplateVersion(ctx context.Context, tenantID, id string, version int64) (*mail.Template, error) {
	q := templates(s.ro.WithContext(ctx)).Select("t.*, v.document, v.version AS version, v.created_at AS updated_at")
	return oneTemplate(q.Where("t.tenant_id = ? AND t.id = ? AND v.version = ?", tenantID, id, version))
}

// FindTemplate gives the default template of a company for a document type, else the tenant-wide one.
func (s *Store) FindTemplate(ctx context.Context, tenantID, companyRef, documentType string) (*mail.Template, error) {
	return oneTemplate(currentTemplates(s.ro.WithContext(ctx)).
		Where("t.tenant_id = ? AND t.document_type = ? AND t.is_default AND t.company_ref IN (?, '')", tenantID, documentType, companyRef).
		Order("t.company_ref = '', t.id"))
}

func oneTemplate(q *gorm.DB) (*mail.Template, error) {
	var row templateRow
	done := q.Limit(1).Scan(&row)
	if done.Error != nil {
		return nil, failed("template", done.Error)
	}
	if done.RowsAffected == 0 {
		return nil, ErrNotFound
	}
	return row.template()
}

// ListTemplates lists a tenant's templates, newest first.
func (s *Store) ListTemplates(ctx context.Context, tenantID string, f TemplateFilter, p Page) (*List[*mail.Template], error) {
	q := currentTemplates(s.ro.WithContext(ctx)).Where("t.tenant_id = ?", tenantID)
	if f.DocumentType != "" {
		q = q.Where("t.document_type = ?", f.DocumentType)
	}
	if f.CompanyRef != "" {
		q = q.Where("t.company_ref = ?", f.CompanyRef)
	}
	return list(q, p, "t.id", func(r *templateRow) string { return r.ID }, (*templateRow).template)
}

// UpdateTemplate replaces a template by a new version. version is the one that it must have (If-Match), 0 for any. t gets its
// new version and times.
func (s *Store) UpdateTemplate(ctx context.Context, t *mail.Template, version int64) error {
	edited, err := s.editTemplate(ctx, t.TenantID, t.ID, version, func(current *mail.Template) error {
		next := *t
		next.Version, next.CreatedAt = current.Version, current.CreatedAt
		*current = next
		return nil
	})
	if err == nil {
		t.Version, t.CreatedAt, t.UpdatedAt = edited.Version, edited.CreatedAt, edited.UpdatedAt
	}
	return err
}

// PutTranslation adds or replaces the texts of one language, as a new version. version is as for UpdateTemplate.
func (s *Store) PutTranslation(ctx context.Context, tenantID, id, language string, tr mail.Translation, version int64) (*mail.Template, error) {
	return s.editTemplate(ctx, tenantID, id, version, func(t *mail.Template) error {
		t.Translations = maps.Clone(t.Translations)
		if t.Translations == nil {
			t.Translations = make(map[string]mail.Translation, 1)
		}
		t.Translations[language] = tr
		return nil
	})
}

// DeleteTranslation takes the texts of one language away, as a new version. ErrNotFound: the template has none in it.
// ErrConflict: it is the default language. version is as for UpdateTemplate.
func (s *Store) DeleteTranslation(ctx context.Context, tenantID, id, language string, version int64) (*mail.Template, error) {
	return s.editTemplate(ctx, tenantID, id, version, func(t *mail.Template) error {
		if _, ok := t.Translations[language]; !ok {
			return ErrNotFound
		}
		if language == t.DefaultLanguage {
			return ErrConflict
		}
		t.Translations = maps.Clone(t.Translations)
		delete(t.Translations, language)
		return nil
	})
}

// editTemplate changes a locked template and stores it as its next version.
func (s *Store) editTemplate(ctx context.Context, tenantID, id string, version int64, edit func(*mail.Template) error) (*mail.Template, error) {
	var t *mail.Template
	err := s.transaction(ctx, func(tx *gorm.DB) error {
		old, err := lockTemplate(tx, tenantID, id, version)
		if err != nil {
			return err
		}
		if t, err = old.template(); err != nil {
			return err
		}
		if err := edit(t); err != nil {
			return err
		}
		t.Version, t.UpdatedAt = old.Version+1, fromMicros(later(old.UpdatedAt))
		row, next, err := templateRows(t)
		if err != nil {
			return err
		}
		if err := yieldDefaultTemplate(tx, row); err != nil {
			return err
		}
		if err := tx.Create(next).Error; err != nil {
			return err
		}
		return tx.Select("*").Where("tenant_id = ?", tenantID).Updates(row).Error
	})
	if err != nil {
		return nil, failed("edit template", err)
	}
	return t, nil
}

// lockTemplate reads a template for a change of it.
func lockTemplate(tx *gorm.DB, tenantID, id string, version int64) (*templateRow, error) {
	var row templateRow
	err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Omit("Document").
		Where("tenant_id = ? AND id = ? AND deleted_at IS NULL", tenantID, id).Take(&row).Error
	if err != nil {
		return nil, err
	}
	if version != 0 && version != row.Version {
		return nil, ErrVersion
	}
	var v templateVersionRow
	if err := tx.Where("tenant_id = ? AND template_id = ? AND version = ?", tenantID, id, row.Version).Take(&v).Error; err != nil {
		return nil, err
	}
	row.Document = v.Document
	return &row, nil
}

// DeleteTemplate takes a template away; its versions stay, because messages name them. version is as for UpdateTemplate.
func (s *Store) DeleteTemplate(ctx context.Context, tenantID, id string, version int64) error {
	return failed("delete template", s.transaction(ctx, func(tx *gorm.DB) error {
		if _, err := lockTemplate(tx, tenantID, id, version); err != nil {
			return err
		}
		return tx.Model(&templateRow{}).Where("tenant_id = ? AND id = ?", tenantID, id).
			UpdateColumns(map[string]any{"deleted_at": micros(time.Now()), "is_default": false}).Error
	}))
}

// yieldDefaultTemplate makes room for row as the default of its company and document type. What was the default gets a new
// version, as with every edit.
func yieldDefaultTemplate(tx *gorm.DB, row *templateRow) error {
	if !row.IsDefault {
		return nil
	}
	var old []templateRow
	err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Omit("Document").
		Where("tenant_id = ? AND company_ref = ? AND document_type = ? AND is_default AND deleted_at IS NULL AND id <> ?", row.TenantID, row.CompanyRef, row.DocumentType, row.ID).
		Find(&old).Error
	if err != nil {
		return err
	}
	for _, r := range old {
		err := tx.Exec(`INSERT INTO template_versions (tenant_id, template_id, version, document, created_at)
			SELECT tenant_id, template_id, version + 1, document, ? FROM template_versions WHERE template_id = ? AND version = ?`,
			row.UpdatedAt, r.ID, r.Version).Error
		if err != nil {
			return err
		}
		err = tx.Model(&templateRow{}).Where("tenant_id = ? AND id = ?", r.TenantID, r.ID).
			UpdateColumns(map[string]any{"is_default": false, "version": r.Version + 1, "updated_at": row.UpdatedAt}).Error
		if err != nil {
			return err
		}
	}
	return nil
}
