package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/mattn/go-isatty"
)

// screen is where something is printed for people. Colours are for terminals; so are columns that are aligned, below headings:
// programs get columns that are separated by tabs, and nothing else.
type screen struct {
	io.Writer
	terminal bool
	aligned  bool
	colours  bool
}

func newScreen(w io.Writer) *screen {
	if s, ok := w.(*screen); ok {
		return s
	}
	terminal := isTerminal(w)
	// https://no-color.org: any value that is not empty.
	return &screen{Writer: w, terminal: terminal, aligned: terminal, colours: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// The colours (ECMA-48, SGR).
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	grey   = "90"
)

// paint colours a text where there are colours.
func (s *screen) paint(colour, text string) string {
	if !s.colours || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// stateColour is the colour of a state's name, "" for none.
func stateColour(text string) string {
	word, _, _ := strings.Cut(text, " ")
	switch word {
	case "ready", "ok", "applied", "active":
		return green
	case "failed", "error", "FAIL", "refused", "revoked", "dirty":
		return red
	case "suspended", "deleted", "expired", "retired":
		return grey
	case "pending", "queued", "creating", "migrating", "deleting", "building", "warning", "...", "edited", "missing":
		return yellow
	}
	return ""
}

// clean takes out what would be obeyed by a terminal: names, errors and details may come from somebody else's SQL.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return '\uFFFD'
		}
		return r
	}, text)
}

// cell is clean, on one line.
func cell(text string) string { return strings.NewReplacer("\n", " ", "\t", " ").Replace(clean(text)) }

// rows prints a table.
func (s *screen) rows(header []string, rows [][]string) error {
	if !s.aligned {
		for _, row := range rows {
			cells := make([]string, len(row))
			for i := range row {
				cells[i] = cell(row[i])
			}
			if _, err := fmt.Fprintln(s, strings.Join(cells, "\t")); err != nil {
				return err
			}
		}
		return nil
	}
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell(text)))
		}
	}
	if err := s.row(widths, header, func(string) string { return bold }); err != nil {
		return err
	}
	for _, row := range rows {
		if err := s.row(widths, row, stateColour); err != nil {
			return err
		}
	}
	return nil
}

func (s *screen) row(widths []int, row []string, colour func(string) string) error {
	var line strings.Builder
	for i, text := range row {
		text = cell(text)
		line.WriteString(s.paint(colour(text), text))
		if i < len(row)-1 {
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+3))
		}
	}
	_, err := fmt.Fprintln(s, strings.TrimRight(line.String(), " "))
	return err
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printYAML prints the same as printJSON, in the same order.
func printYAML(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	text, err := yaml.JSONToYAML(raw)
	if err != nil {
		return fmt.Errorf("print as YAML: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// diff colours the lines of a unified diff.
func (s *screen) diff(text string) string {
	lines := strings.SplitAfter(clean(text), "\n")
	for i, line := range lines {
		body := strings.TrimSuffix(line, "\n")
		colour := map[byte]string{'+': green, '-': red, '@': bold}[append([]byte(body), 0)[0]]
		lines[i] = s.paint(colour, body) + strings.TrimPrefix(line, body)
	}
	return strings.Join(lines, "")
}
