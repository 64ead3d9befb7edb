package templates

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

//go:embed html_report.tmpl
var htmlReport string

// WriteHTML writes a template's report as one HTML page that needs nothing else: no script, no picture, no font.
func WriteHTML(w io.Writer, t *mayfly.Template) error {
	p, err := newPage(t)
	if err != nil {
		return err
	}
	parsed, err := template.New("report").Funcs(template.FuncMap{
		"size": sizeText, "group": groupText,
		"span": func(milliseconds int64) string { return spanText(time.Duration(milliseconds) * time.Millisecond) },
	}).Parse(htmlReport)
	if err != nil {
		return fmt.Errorf("read the layout of the report: %w", err)
	}
	if err := parsed.Execute(w, p); err != nil {
		return fmt.Errorf("write the report of template %s: %w", t.ID, err)
	}
	return nil
}
