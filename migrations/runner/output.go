package runner

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// logBytes is how much of a run's output is kept: the end of it.
const logBytes = 64 << 10

// hidden takes the place of a secret.
const hidden = "[hidden]"

// errOutput ends a command that prints without end.
var errOutput = errors.New("the command printed too much")

// Output keeps the end of what a command prints, on both streams, in the order in which it comes.
type Output struct {
	limit   int64
	secrets []string

	mu    sync.Mutex
	total int64
	kept  []byte
	cut   bool
}

// newOutput keeps up to logBytes and takes up to limit. Secrets shorter than 6 bytes are not looked for: they would be
// found everywhere.
func newOutput(limit int64, secrets []string) *Output {
	o := &Output{limit: limit}
	for _, secret := range secrets {
		if len(secret) >= 6 {
			o.secrets = append(o.secrets, secret)
		}
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(o.secrets, func(a, b string) int { return len(b) - len(a) })
	return o
}

// Write implements io.Writer. Beyond the limit it fails, which ends the command.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total += int64(len(p))
	o.kept = append(o.kept, p...)
	// Twice as much as is shown, so that a secret is not cut in two at the beginning of what is shown.
	if len(o.kept) > 4*logBytes {
		o.kept = append(o.kept[:0], o.kept[len(o.kept)-2*logBytes:]...)
		o.cut = true
	}
	if o.total > o.limit {
		return 0, errOutput
	}
	return len(p), nil
}

// Exceeded reports whether the command printed more than it may.
func (o *Output) Exceeded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total > o.limit
}

// Text returns the end of the output without secrets and control characters, and whether something before it is missing.
func (o *Output) Text() (text string, truncated bool) {
	o.mu.Lock()
	kept, cut := bytes.Clone(o.kept), o.cut
	o.mu.Unlock()
	// First what a terminal would not show: it could stand between the letters of a secret.
	text = o.hide(plain(strings.ToValidUTF8(string(kept), "\uFFFD")))
	if len(text) > logBytes || cut {
		start := max(0, len(text)-logBytes)
		for start < len(text) && !utf8.RuneStart(text[start]) {
			start++
		}
		text = text[start:]
		if _, rest, ok := strings.Cut(text, "\n"); ok { // a line that is cut is no line
			text = rest
		}
		return text, true
	}
	return text, false
}

// hide replaces secrets.
func (o *Output) hide(text string) string {
	for _, secret := range o.secrets {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return text
}

// plain takes out what a terminal would interpret: colours, cursor movements, and other control characters. A carriage return
// begins the line anew, as it does on a terminal.
func plain(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] == 0x1b {
			i += escapeLength(text[i:])
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '\n', r == '\t', !unicode.IsControl(r):
			b.WriteString(text[i : i+size])
		case r == '\r' && i+1 < len(text) && text[i+1] != '\n':
			b.WriteByte('\n')
		}
		i += size
	}
	return b.String()
}

// escapeLength is how many bytes an escape sequence takes (ECMA-48, 5.4: CSI, parameters, a final byte).
func escapeLength(text string) int {
	if len(text) < 2 || text[1] != '[' {
		return min(2, len(text))
	}
	for i := 2; i < len(text); i++ {
		if text[i] >= 0x40 && text[i] <= 0x7e {
			return i + 1
		}
	}
	return len(text)
}

// lastLines returns the end of a text, for a message.
func lastLines(text string, lines, bytes int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	all = all[max(0, len(all)-lines):]
	joined := strings.Join(all, "\n")
	if len(joined) > bytes {
		joined = "…" + strings.ToValidUTF8(joined[len(joined)-bytes:], "")
	}
	return joined
}
