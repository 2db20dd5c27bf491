package demo

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"fmt"
	"text/template"
)

//go:embed ubl.xml.tmpl
var ublSource string

// ublTemplate is a Peppol BIS Billing 3.0 invoice (UBL 2.1, EN 16931). Every text goes through esc.
var ublTemplate = template.Must(template.New("ubl").Funcs(template.FuncMap{
	"esc": func(s string) (string, error) {
		var b bytes.Buffer
		err := xml.EscapeText(&b, []byte(s))
		return b.String(), err
	},
	"inc": func(i int) int { return i + 1 },
}).Parse(ublSource))

// ubl is the invoice as UBL.
func (inv invoice) ubl() ([]byte, error) {
	var b bytes.Buffer
	if err := ublTemplate.Execute(&b, inv); err != nil {
		return nil, fmt.Errorf("demo: invoice %s as UBL: %w", inv.Number, err)
	}
	return b.Bytes(), nil
}
