package templates

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mayflydb/mayfly/templates/archive"
)

// TestMessagesOfServersTellNoValues: PostgreSQL quotes the value in the message itself when it does not fit.
func TestMessagesOfServersTellNoValues(t *testing.T) {
	t.Parallel()
	for code, message := range map[string]string{
		"22P02": `invalid input syntax for type integer: "jane.roe@corp-one.com"`,
		"22003": `value "jane.roe@corp-one.com" is out of range for type integer`,
		"22008": `date/time field value out of range: "jane.roe@corp-one.com"`,
		"P0001": `no account of jane.roe@corp-one.com`,
	} {
		got := sourceMessage(errors.Join(errors.New("read"), &pgconn.PgError{Code: code, Message: message}))
		if strings.Contains(got, "jane") || !strings.Contains(got, code) {
			t.Errorf("of %s is shown: %s", code, got)
		}
	}
	index := &archive.Entry{Kind: "INDEX", Tag: "i", Schema: "public"}
	if err := restoreError(t.Context(), index, &pgconn.PgError{Code: "22P02", Message: `invalid input syntax for type integer: "jane.roe@corp-one.com"`}); strings.Contains(err.Error(), "jane") {
		t.Errorf("of an index that cannot be made is shown: %v", err)
	}
	if got := sourceMessage(&pgconn.PgError{Code: "42501", Message: "permission denied for table t"}); !strings.Contains(got, "permission denied for table t") {
		t.Errorf("of a missing right is shown: %s", got)
	}
}
