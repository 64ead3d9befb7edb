package migrations

import (
	"path"
	"strings"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// reverser is a tool or a dialect whose migrations may say how to undo them.
type reverser interface {
	// reverse returns what undoes a migration. ok is false if the migration has nothing for it. A script without queries is
	// one that says that there is nothing to undo.
	reverse(m Migration) (s script, ok bool, err error)
}

// reverserOf returns nil for a tool without down migrations.
func reverserOf(impl tool) reverser {
	if t, ok := impl.(setTool); ok {
		own, _ := t.dialect.(reverser)
		return own
	}
	own, _ := impl.(reverser)
	return own
}

// undo is a migration that undoes another one: failures are told in the file that has it.
func (m Migration) undo() Migration {
	if m.down != nil {
		m.Up = m.down
	}
	return m
}

// executable reports whether a text has anything that the server would execute.
func executable(text string) bool { return len(sqlsplit.Counted(sqlsplit.Split(text, true))) > 0 }

// wholeDown is the down file as one query.
func wholeDown(m Migration, transaction bool) (script, bool, error) {
	if m.down == nil || !executable(string(m.down.Content)) {
		return script{}, false, nil
	}
	return wholeScript(string(m.down.Content), transaction), true, nil
}

func (golangMigrate) reverse(m Migration) (script, bool, error) { return wholeDown(m, false) }

func (goose) reverse(m Migration) (script, bool, error) {
	if m.Up == nil || path.Ext(m.Up.Path) != ".sql" {
		return script{}, false, nil
	}
	s, err := parseGoose(string(m.Up.Content), false)
	if err != nil {
		return script{}, false, inFile(*m.Up, err)
	}
	return s, len(s.queries) > 0, nil
}

func (dbmate) reverse(m Migration) (script, bool, error) { //nolint:unparam // as reverser has it
	text := string(m.Up.Content)
	down := dbmateDown.FindStringIndex(text)
	if down == nil || !executable(text[down[0]:]) {
		return script{}, false, nil
	}
	return dbmateBlock(text, span{down[0], len(text)}), true, nil
}

func (sqlx) reverse(m Migration) (script, bool, error) {
	return wholeDown(m, m.down == nil || !strings.HasPrefix(string(m.down.Content), "-- no-transaction"))
}

func (diesel) reverse(m Migration) (script, bool, error) { return wholeDown(m, !m.NoTransaction) }

func (plain) reverse(m Migration) (script, bool, error) {
	return wholeDown(m, m.down == nil || !plainNoTransaction.Match(m.down.Content))
}

func (q sqitch) reverse(m Migration) (script, bool, error) {
	if m.down == nil || !executable(string(m.down.Content)) {
		return script{}, false, nil
	}
	s, err := q.script(m.undo())
	return s, err == nil, err
}

// reverse takes the lines "--rollback …" of a changeset. Those that name another changeset instead of holding SQL cannot be followed.
func (liquibase) reverse(m Migration) (script, bool, error) { //nolint:unparam // as reverser has it
	c, ok := m.own.(*liquibaseSet)
	if !ok || c.undo == "" {
		return script{}, false, nil
	}
	s := script{text: c.undo, transaction: c.inTransaction}
	switch first := strings.ToLower(strings.TrimSpace(c.undo)); {
	case first == "empty", first == "not required":
		return s, true, nil
	case strings.HasPrefix(first, "changesetid"):
		return script{}, false, nil
	}
	s.queries = split(c.undo, span{0, len(c.undo)})
	return s, len(s.queries) > 0, nil
}
