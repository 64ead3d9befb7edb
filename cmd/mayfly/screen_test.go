package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestClean: nothing that comes from somebody else's SQL is obeyed by a terminal, or moves to another column or row.
func TestClean(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"\x1b[31mred", "a\rb", "bell\a", "\u009b31m", "\u202eevil", "\x00"} {
		if got := clean(text); strings.ContainsAny(got, "\x1b\r\a\x00\u009b\u202e") {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	if got := clean("Grüße 日本語 ✓\n\tnext"); got != "Grüße 日本語 ✓\n\tnext" {
		t.Errorf("what is harmless becomes %q", got)
	}
	var out bytes.Buffer
	check(t, (&screen{Writer: &out}).rows([]string{"A", "B"}, [][]string{{"one\ttwo\nthree", "x"}}))
	if out.String() != "one two three\tx\n" {
		t.Errorf("the row is %q", out.String())
	}
	out.Reset()
	check(t, (&screen{Writer: &out, aligned: true, colours: true}).rows([]string{"NAME", "STATE"}, [][]string{{"ü", "ready"}, {"longer", "failed (x)"}}))
	want := "\x1b[1mNAME\x1b[0m     \x1b[1mSTATE\x1b[0m\nü        \x1b[32mready\x1b[0m\nlonger   \x1b[31mfailed (x)\x1b[0m\n"
	if out.String() != want {
		t.Errorf("the table is %q, not %q", out.String(), want)
	}
}

// TestYAML: every value that comes back is the one that went in.
func TestYAML(t *testing.T) {
	t.Parallel()
	values := map[string]any{
		"a": "no", "b": "1e3", "c": "0x10", "d": "null", "e": "~", "f": " lead", "g": "a: b", "h": "# no comment", "i": "two\nlines\n", "j": "'", "k": "\"",
		"l": "", "m": "2026-01-01", "n": "- x", "o": "{}", "p": "ü", "q": "!tag", "r": "&a", "s": "*a", "t": "%", "u": "@", "v": "`", "w": "true", "x": "trailing ",
	}
	var out bytes.Buffer
	check(t, printYAML(&out, values))
	back := map[string]any{}
	if err := yaml.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for key, value := range values {
		if back[key] != value {
			t.Errorf("%s: %q came back as %#v", key, value, back[key])
		}
	}
}

// FuzzQuote: what is quoted for a shell is one word, which is what went in.
func FuzzQuote(f *testing.F) {
	for _, text := range []string{"", "a b", "it's", "$(touch x)", "`x`", "a\nb", "\\", "\"", "!x", "*", "-n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\x00") {
			t.Skip("no variable can hold it")
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "export X="+shellQuote(text)+`; printf %s "$X"`).Output()
		if err != nil || string(out) != text {
			t.Errorf("%q came out as %q: %v", text, out, err)
		}
		quoted := dotenvQuote(text)
		if strings.ContainsAny(quoted, "\n\r") || quoted[0] != quoted[len(quoted)-1] {
			t.Errorf("%q is quoted as %q for dotenv", text, quoted)
		}
	})
}

func TestBranchSlugs(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	for branch, want := range map[string]string{
		"main": "main", "feature/Login_Page": "feature-login-page", "pr-7": "pr-7-", "ünïcode": "n-code", "..": "b-", long: "xxx", "日本": "b-",
	} {
		slugs := branchSlugs(branch, 32)
		if !strings.HasPrefix(slugs[0], want) {
			t.Errorf("%s: %v", branch, slugs)
		}
		for _, slug := range slugs {
			if len(slug) > 32 || strings.Trim(slug, "-") != slug {
				t.Errorf("%s: %q is no name", branch, slug)
			}
		}
	}
	if branchSlugs("a/b", 32)[1] == branchSlugs("a-b", 32)[1] {
		t.Error("two branches have the same name of their own")
	}
}
