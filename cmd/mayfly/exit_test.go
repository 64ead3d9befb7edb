package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

// TestExitCodes says what a script sees of each error. A code without an entry here was not thought about.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	want := map[mayfly.Code]int{
		mayfly.CodeNotFound:        exitNotFound,
		mayfly.CodeUnauthenticated: exitDenied,
		mayfly.CodeForbidden:       exitDenied,
		mayfly.CodeForkDenied:      exitDenied,
		mayfly.CodeTimeout:         exitTimeout,
		mayfly.CodeQuotaExceeded:   exitQuota,
		mayfly.CodePoolFull:        exitQuota,
		mayfly.CodeRateLimited:     exitQuota,
	}
	for _, code := range []mayfly.Code{
		mayfly.CodeInvalid, mayfly.CodeConflict, mayfly.CodeProtected, mayfly.CodePrecondition, mayfly.CodeIdempotency, mayfly.CodeTooLarge,
		mayfly.CodeNoTemplate, mayfly.CodeEngineUnavailable, mayfly.CodeStateUnavailable, mayfly.CodeForgeUnavailable, mayfly.CodeIssuerUnavailable,
		mayfly.CodeImageUnavailable, mayfly.CodeMigrationFailed, mayfly.CodeMigrationInvalid, mayfly.CodeUnclassified, mayfly.CodeSourceUnavailable,
		mayfly.CodeSourceInvalid, mayfly.CodeVerificationFailed, mayfly.CodeHeadGone, mayfly.CodeCancelled, mayfly.CodeInternal,
	} {
		want[code] = exitFailed
	}
	for _, code := range codes(t) {
		exit, ok := want[code]
		if !ok {
			t.Errorf("which exit code has %q?", code)
		} else if got := exitCode(mayfly.Errorf(code, "no")); got != exit {
			t.Errorf("%q ends with %d, not with %d", code, got, exit)
		}
	}
	if got := exitCode(mayfly.InvalidField("sort", "sort: no")); got != exitUsage {
		t.Errorf("an argument that the server does not take ends with %d, not with %d", got, exitUsage)
	}
}

// codes reads the constants of type mayfly.Code.
func codes(t *testing.T) []mayfly.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []mayfly.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Code" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, mayfly.Code(value))
		}
		return true
	})
	if len(found) == 0 {
		t.Fatal("errors.go has no codes")
	}
	return found
}
