package migrations

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // the tool's own script hash
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// sqitch follows `sqitch deploy` of Sqitch 1.3 with the engine pg, without --verify.
type sqitch struct{}

const (
	sqitchRegistry = "sqitch"
	sqitchPlanName = "sqitch.plan"
	// sqitchLockID is the key in Engine::pg of the tool.
	sqitchLockID int64 = 75474063
	// sqitchCommands is how many commands of psql one script may have.
	sqitchCommands = 100
	// Who deployed: the name and address that people set with `sqitch config` are not in the repository.
	sqitchUser, sqitchEmail = "Mayfly", "mayfly@localhost"
)

func (sqitch) rules() rules {
	return rules{gaps: gapRun, refuseEdited: true, refuseMissing: true, anyPosition: true}
}

// compare knows no order but that of the plan.
func (sqitch) compare(_, _ string) int { return 0 }

// sqitchVersion names a change: a change that was reworked is there more than once.
func sqitchVersion(name string, occurrence int) string {
	if occurrence > 1 {
		return name + "#" + strconv.Itoa(occurrence)
	}
	return name
}

func (q sqitch) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	dir := path.Clean(strings.Trim(settings.Path, "/"))
	scripts := map[string]File{}
	var plan *File
	for _, f := range filesBelow(settings, files) {
		scripts[f.Path] = f
		if f.Path == path.Join(dir, sqitchPlanName) {
			plan = &f
		}
	}
	if plan == nil {
		if len(scripts) == 0 {
			return history, nil
		}
		return nil, invalid("set migrations.path to the directory that has it", "%s: there is no %s", dir, sqitchPlanName)
	}
	parsed, err := parseSqitchPlan(string(plan.Content))
	if err != nil {
		return nil, inFile(*plan, err)
	}
	for _, c := range parsed.changes {
		m := Migration{Version: sqitchVersion(c.name, c.occurrence), Name: c.name, own: c, NoTransaction: true}
		f, ok := c.script(path.Join(dir, "deploy"), scripts)
		if ok {
			sum := sha1.Sum(f.Content) //nolint:gosec // see the import
			m.Up, m.Checksum, m.refused = &f, c.id+" "+hex.EncodeToString(sum[:]), badName(f)
		} else {
			m.Up, m.Checksum = &File{Path: plan.Path, SHA: c.id}, c.id+" "
			m.refused = invalid("commit the script", "%s: change %s has no script %s", at(plan.Path, c.line), c.name, path.Join("deploy", c.name+".sql"))
		}
		if revert, ok := c.script(path.Join(dir, "revert"), scripts); ok {
			m.down = &revert
		}
		history.Migrations = append(history.Migrations, m)
	}
	return history, nil
}

// script finds the deploy script of a change, which is called after a tag if the change was reworked later.
func (c *sqitchChange) script(dir string, files map[string]File) (File, bool) {
	for _, tag := range c.reworkTags {
		if f, ok := files[path.Join(dir, c.name+tag+".sql")]; ok {
			return f, true
		}
	}
	if len(c.reworkTags) > 0 {
		return File{}, false
	}
	f, ok := files[path.Join(dir, c.name+".sql")]
	return f, ok
}

// judge: the id covers the line of the plan and all before it. A script that was edited is let pass.
func (sqitch) judge(m Migration, a Applied) (edited, refuse bool) {
	id, _, _ := strings.Cut(m.Checksum, " ")
	applied, hash, _ := strings.Cut(a.Checksum, " ")
	if id != applied {
		return true, true
	}
	return hash != "" && m.Checksum != a.Checksum, false
}

func (sqitch) find(setting string) string { return cmp.Or(setting, sqitchRegistry) }

func (q sqitch) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table := trackingTable{schema: q.find(settings.Table), name: "changes"}
	seen := map[string]int{}
	query := `SELECT change_id, coalesce(script_hash, ''), change, project, committed_at FROM ` + table.quoted() + ` ORDER BY committed_at`
	return readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var a Applied
		var id, hash, project string
		var at time.Time
		err := row.Scan(&id, &hash, &a.Name, &project, &at)
		seen[a.Name]++
		a.Version, a.Checksum, a.At = sqitchVersion(a.Name, seen[a.Name]), id+" "+hash, &at
		return a, err
	})
}

func (sqitch) lock(ctx context.Context, r *run) (unlock func(), err error) {
	return r.advisoryLock(ctx, Sqitch, sqitchLockID)
}

func (q sqitch) prepare(ctx context.Context, r *run) error {
	r.table = trackingTable{schema: q.find(r.plan.table), name: "changes"}
	state, err := readApplied(ctx, r.conn, r.table, "", nil)
	if err != nil {
		return err
	}
	registry := pgx.Identifier{r.table.schema}.Sanitize()
	if !state.Exists {
		if err := r.createSchema(ctx, r.table.schema); err != nil {
			return err
		}
		if err := r.exec(ctx, strings.ReplaceAll(sqitchTables, "REGISTRY", registry)); err != nil {
			r.settle(context.WithoutCancel(ctx))
			return err
		}
		err := r.exec(ctx, `INSERT INTO `+registry+`.releases (version, installed_at, installer_name, installer_email) VALUES (1.1, clock_timestamp(), $1, $2)`,
			sqitchUser, sqitchEmail)
		if err != nil {
			return err
		}
	}
	return q.register(ctx, r, registry)
}

// register is register_project of the tool.
func (sqitch) register(ctx context.Context, r *run, registry string) error {
	c, ok := r.plan.Pending[0].own.(*sqitchChange)
	if !ok {
		return errors.New("a change without a plan")
	}
	var uri *string
	err := r.conn.QueryRow(ctx, `SELECT uri FROM `+registry+`.projects WHERE project = $1`, pgx.QueryExecModeExec, c.plan.project).Scan(&uri)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return r.exec(ctx, `INSERT INTO `+registry+`.projects (project, uri, creator_name, creator_email, created_at) VALUES ($1, nullif($2, ''), $3, $4, clock_timestamp())`,
			c.plan.project, c.plan.uri, sqitchUser, sqitchEmail)
	case err != nil:
		return fmt.Errorf("look for the project in the registry: %w", err)
	}
	known := ""
	if uri != nil {
		known = *uri
	}
	if known != c.plan.uri {
		return invalid("Sqitch stops there, too: the %uri of a plan must stay", "the plan has the URI %q, and the registry has %q", c.plan.uri, known)
	}
	return nil
}

// sqitchHarmless are commands of psql that change nothing about what a script does to the database.
var sqitchHarmless = regexp.MustCompile(`^\\(set[ \t]+(ON_ERROR_STOP([ \t]+(1|on|true))?|(QUIET|VERBOSITY|SHOW_CONTEXT|ECHO)([ \t]+\w+)?)|` +
	`(pset|timing|echo|qecho|warn|x|t|a)\b[^\n]*)[ \t]*\r?$`)

// sqitchVariable is a variable that psql would fill in: those that Sqitch and psql set themselves.
var sqitchVariable = regexp.MustCompile(`^(registry|[A-Z][A-Z_]+)$`)

// script takes out the commands of psql that can be done without, and refuses the others. What is left is sent statement by
// statement, as psql does it: a script carries its own BEGIN and COMMIT.
func (sqitch) script(m Migration) (script, error) {
	text := bytes.Clone(m.Up.Content)
	for from, n := 0, 0; from < len(text); n++ {
		piece := firstBackslash(string(text), from)
		if piece < 0 {
			break
		}
		end := len(text)
		if i := bytes.IndexByte(text[piece:], '\n'); i >= 0 {
			end = piece + i
		}
		lineStart := bytes.LastIndexByte(text[:piece], '\n') + 1
		command := string(text[piece:end])
		if n == sqitchCommands || len(bytes.TrimSpace(text[lineStart:piece])) > 0 || !sqitchHarmless.MatchString(command) {
			line, _ := lineColumn(string(text), piece)
			return script{}, invalid("Sqitch runs scripts with psql, which is not done here: write it in SQL, or have Sqitch run by a runner command",
				"%s:%d: the command of psql %q cannot be honoured", m.Up.Path, line, excerpt(firstWord(command), 40))
		}
		for i := piece; i < end; i++ {
			text[i] = ' '
		}
		from = end
	}
	s := script{text: string(text)}
	s.queries = split(s.text, span{0, len(s.text)})
	if i := psqlVariable(s.text); i >= 0 {
		line, _ := lineColumn(s.text, i)
		return script{}, invalid("Sqitch runs scripts with psql, which fills in variables: write the value",
			"%s: a variable of psql cannot be honoured", at(m.Up.Path, line))
	}
	return s, nil
}

// firstBackslash returns the offset of the first command of psql, or -1.
func firstBackslash(text string, from int) int {
	for _, p := range sqlsplit.Split(text, true) {
		if p.Backslash >= from {
			return p.Backslash
		}
	}
	return -1
}

// psqlVariable returns the offset of the first :name, :"name" or :'name' that psql would fill in, or -1.
func psqlVariable(text string) int {
	tokens := sqlsplit.Tokens(text, true)
	for i, t := range tokens {
		if text[t.Begin:t.End] != ":" || i+1 == len(tokens) || tokens[i+1].Begin != t.End || i > 0 && text[tokens[i-1].Begin:tokens[i-1].End] == ":" {
			continue
		}
		name := strings.Trim(text[tokens[i+1].Begin:tokens[i+1].End], `"'`)
		if sqitchVariable.MatchString(name) {
			return t.Begin
		}
	}
	return -1
}

// migrate gives each script a session as new, as each has one of its own with psql.
func (q sqitch) migrate(ctx context.Context, r *run, m Migration, s script) (outcome, *Failure) {
	err := r.exec(ctx, `RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP`)
	if err == nil {
		err = r.setTimeouts(ctx)
	}
	if err != nil {
		return outcome{err: err}, r.failure(m, "the session could not be reset: ", err)
	}
	result, failure := r.standard(ctx, m, s, q.record)
	if failure != nil && !r.conn.IsClosed() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer cancel()
		if c, ok := m.own.(*sqitchChange); ok {
			result.err = errors.Join(result.err, c.event(after, r, "fail"))
		}
	}
	return result, failure
}
