package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// aspects are what is shown of a person, in this order.
func aspects() []string {
	return []string{
		"name", "initials", "email", "phone", "date of birth", "street", "city", "postcode", "country", "contact in preferences",
		"card holder", "provider token", "orders", "support note",
	}
}

// unmasked are the aspects that the rules keep.
func unmasked() map[string]bool { return map[string]bool{"country": true, "orders": true} }

// person reads the planted customer: the same row in production and in a preview.
func person(ctx context.Context, conn *pgx.Conn) (map[string]string, error) {
	values := make([]string, len(aspects()))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	err := conn.QueryRow(ctx, `
		SELECT c.first_name || ' ' || c.last_name, c.initials, c.email, c.phone, c.date_of_birth::text, a.street, a.city, a.postcode, a.country::text,
			c.preferences->'contact'->>'email', p.card_holder, p.provider_token,
			(SELECT count(*)::text FROM orders o WHERE o.contact_email = c.email), left(n.body, 44) || '…'
		FROM customers c
		JOIN addresses a ON a.customer_id = c.id AND a.is_default
		JOIN payments p ON p.order_id = 1001
		JOIN support_notes n ON n.id = 777 AND n.customer_id = c.id
		WHERE c.id = 4242`).Scan(into...)
	if err != nil {
		return nil, fmt.Errorf("read customer 4242: %w", err)
	}
	result := map[string]string{}
	for i, name := range aspects() {
		result[name] = values[i]
	}
	return result, nil
}

// awaitCommit waits until the pull request's preview is settled at exactly this commit. It may not have been recorded yet
// when the delivery was acknowledged; the service would wait for that, too, but looks less often than a stopwatch needs.
func (d *demo) awaitCommit(ctx context.Context, p *pullRequest) (*client.Preview, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	name := mayfly.PullRequestName("shop", p.Number)
	err := poll(ctx, time.Minute, func() (bool, error) {
		_, err := d.api.Preview(ctx, name)
		return err == nil, err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("wait for %s to be recorded: %w", name, err)
	}
	preview, err := d.api.WaitReady(ctx, name, p.SHA)
	if err != nil {
		return nil, 0, fmt.Errorf("wait for %s at %.7s: %w", name, p.SHA, err)
	}
	return preview, time.Since(p.Delivery.Began), nil
}

// awaitWord waits until the service has told GitHub: the newest status of the head, and the one comment, which must have
// this in its headline.
func (d *demo) awaitWord(ctx context.Context, number int, status, headline string) (*pullRequest, error) {
	var seen *pullRequest
	err := poll(ctx, 30*time.Second, func() (bool, error) {
		var err error
		if seen, err = d.github.pull(ctx, number); err != nil {
			return false, err
		}
		said := len(seen.Comments) > 0 && strings.Contains(seen.Comments[0].Body, headline)
		told := status == "" || len(seen.Statuses) > 0 && seen.Statuses[len(seen.Statuses)-1].State == status
		return said && told, fmt.Errorf("no comment with %q and status %q on pull request %d: %+v", headline, status, number, seen)
	})
	if err != nil {
		return nil, err
	}
	if len(seen.Comments) != 1 {
		return nil, fmt.Errorf("there are %d comments on pull request %d, not one", len(seen.Comments), number)
	}
	return seen, nil
}

func (d *demo) showWord(p *pullRequest) {
	d.screen.comment(p.Comments[0].Author, p.Comments[0].Body)
	if len(p.Statuses) > 0 {
		last := p.Statuses[len(p.Statuses)-1]
		colour := map[string]string{"success": green, "failure": red, "error": red}[last.State]
		d.screen.say("commit status of %.7s: %s  %s: %s", p.SHA, d.screen.paint(colour, last.State), last.Context, last.Description)
	}
}

func (d *demo) runPullRequest(ctx context.Context) error {
	err := d.github.commitFiles(ctx, "loyalty", "Loyalty points and wishlists", "migrations/0003_loyalty_points", "migrations/0004_wishlists")
	if err != nil {
		return err
	}
	if d.first, err = d.github.open(ctx, "loyalty", "Loyalty points and wishlists"); err != nil {
		return err
	}
	d.screen.say("robin opened #%d with 0003_loyalty_points and 0004_wishlists; production is at version 2.", d.first.Number)
	preview, took, err := d.awaitCommit(ctx, d.first)
	if err != nil {
		return err
	}
	if preview.Failure != nil {
		return fmt.Errorf("%s: %s", preview.Name, preview.Failure.Message)
	}
	d.screen.measured("signed delivery acknowledged", d.first.Delivery.Took)
	d.screen.measured("delivery → database ready, migrated", took)
	for _, step := range preview.Steps {
		if step.Name == "migrate" {
			own := time.Duration(step.DurationMS * float64(time.Millisecond))
			d.screen.measured("  of that, the migrations themselves", own)
			d.screen.measured("  and everything else", took-own)
		}
	}
	seen, err := d.awaitWord(ctx, d.first.Number, "success", "is ready")
	if err != nil {
		return err
	}
	d.showWord(seen)
	return nil
}

func (d *demo) runLook(ctx context.Context) error {
	name := mayfly.PullRequestName("shop", d.first.Number)
	var err error
	if d.url, err = d.ask(ctx, "url", name); err != nil {
		return err
	}
	d.screen.command("mayfly", "url", name)
	d.screen.block(hidePassword(d.url))
	if err := d.check(!d.leaked(ctx, d.url), "the password is in no comment and no status"); err != nil {
		return err
	}
	began := time.Now()
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return fmt.Errorf("connect through the gateway: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	d.screen.measured("connected through the gateway, with TLS", time.Since(began))
	if d.masked, err = person(ctx, conn); err != nil {
		return err
	}
	if err := d.compare(); err != nil {
		return err
	}
	if err := d.checkSchema(ctx, conn); err != nil {
		return err
	}
	if _, err := exec.LookPath("psql"); err == nil {
		if err := d.mayfly(ctx, "psql", name, "--", "-c", `\d wishlist_items`); err != nil {
			return err
		}
	}
	return d.mayfly(ctx, "get", name)
}

func hidePassword(address string) string {
	before, rest, _ := strings.Cut(address, "://")
	user, rest, _ := strings.Cut(rest, ":")
	_, after, _ := strings.Cut(rest, "@")
	return before + "://" + user + ":…@" + after
}

// leaked reports whether the preview's password is anywhere on the pull request.
func (d *demo) leaked(ctx context.Context, address string) bool {
	config, err := pgx.ParseConfig(address)
	if err != nil || config.Password == "" {
		return true
	}
	seen, err := d.github.pull(ctx, d.first.Number)
	return err != nil || strings.Contains(fmt.Sprint(seen.Comments, seen.Statuses), config.Password)
}

// compare shows the masked person beside the original.
func (d *demo) compare() error {
	rows := [][]string{{"customer 4242", "production", "preview"}}
	for _, aspect := range aspects() {
		rows = append(rows, []string{aspect, d.original[aspect], d.masked[aspect]})
	}
	d.screen.table(rows)
	for _, aspect := range aspects() {
		same := d.original[aspect] == d.masked[aspect]
		if same != unmasked()[aspect] && aspect != "initials" { // which may be equal by chance
			return fmt.Errorf("%s is %q in production and %q in the preview", aspect, d.original[aspect], d.masked[aspect])
		}
	}
	d.screen.passed("everything personal differs; country and orders, found by a join on the masked e-mail address, are the same")
	return d.check(d.masked["contact in preferences"] == d.masked["email"], "the address inside the JSON document is masked to the same one")
}

// checkSchema checks what the migrations did, and what is derived from rows.
func (d *demo) checkSchema(ctx context.Context, conn *pgx.Conn) error {
	var version, members, wishlists, days, partitions int
	var revenue string
	err := conn.QueryRow(ctx, `SELECT (SELECT version FROM schema_migrations WHERE NOT dirty), (SELECT count(*) FROM customers WHERE loyalty_points > 0),
		(SELECT count(*) FROM wishlist_items), (SELECT count(*) FROM revenue_by_day), (SELECT sum(revenue)::text FROM revenue_by_day),
		(SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_log'::regclass)`).
		Scan(&version, &members, &wishlists, &days, &revenue, &partitions)
	if err != nil {
		return fmt.Errorf("look at the migrated schema: %w", err)
	}
	production, err := d.production.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = production.Close(context.WithoutCancel(ctx)) }()
	var expected string
	if err := production.QueryRow(ctx, "SELECT sum(revenue)::text FROM revenue_by_day").Scan(&expected); err != nil {
		return err
	}
	return errors.Join(
		d.check(version == 4, "golang-migrate's own table says version %d", version),
		d.check(members > 0, "the backfill gave %d customers loyalty points", members),
		d.check(partitions == 7 && days > 100 && revenue == expected, "revenue_by_day has %d days and production's total, %s; audit_log its %d partitions", days, revenue, partitions),
	)
}

// search counts the needles in whatever is written to it.
type search struct {
	needles [][]byte
	longest int
	rest    []byte // the end of what came before, where a needle may have begun
	bytes   int64
	found   string
}

func newSearch(needles []string) *search {
	s := &search{}
	for _, needle := range needles {
		s.needles = append(s.needles, []byte(needle))
		s.longest = max(s.longest, len(needle))
	}
	return s
}

// Write implements io.Writer.
func (s *search) Write(p []byte) (int, error) {
	s.bytes += int64(len(p))
	text := append(s.rest, p...)
	for _, needle := range s.needles {
		if bytes.Contains(text, needle) {
			s.found = string(needle)
		}
	}
	s.rest = append(s.rest[:0:0], text[max(0, len(text)-s.longest+1):]...)
	return len(p), nil
}

func (d *demo) runSearch(ctx context.Context) error {
	began := time.Now()
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return fmt.Errorf("connect through the gateway: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT oid::regclass::text FROM pg_class
		WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace ORDER BY oid`)
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	haystack := newSearch(planted())
	for _, table := range tables {
		if _, err := conn.PgConn().CopyTo(ctx, haystack, "COPY (SELECT * FROM "+table+") TO STDOUT"); err != nil {
			return fmt.Errorf("read %s: %w", table, err)
		}
	}
	took := time.Since(began)
	err = d.check(haystack.found == "" && haystack.bytes > 100<<20, "none of the planted strings is in any row of %d tables", len(tables))
	if err != nil {
		return err
	}
	rate := float64(haystack.bytes) / (1 << 20) / took.Seconds()
	d.screen.measured(fmt.Sprintf("all %s read through the gateway (%.0f MiB/s)", mebibytes(haystack.bytes), rate), took)
	return d.searchFiles(ctx)
}

// awaitRehearsal waits until the clone is gone on which the migrations are rolled back for a try: files must not vanish below a search.
func (d *demo) awaitRehearsal(ctx context.Context) error {
	var said string
	err := poll(ctx, time.Minute, func() (bool, error) {
		preview, err := d.api.Preview(ctx, mayfly.PullRequestName("shop", d.first.Number))
		if err != nil {
			return false, err
		}
		for _, step := range preview.Steps {
			if step.Name == "rehearse rollback" && step.FinishedAt != nil {
				said = step.Detail
				return step.Error == "", nil
			}
		}
		return false, fmt.Errorf("the rollback of %s is not rehearsed", preview.Name)
	})
	if err != nil {
		return err
	}
	return d.check(said != "", "rolled back for a try, on a clone that is gone: %s", said)
}

// searchFiles searches the pool's files as whoever steals the disk would: heap, indexes, WAL, statistics.
func (d *demo) searchFiles(ctx context.Context) error {
	if err := d.awaitRehearsal(ctx); err != nil {
		return err
	}
	const script = `
set -- "$1" "$(find "$1/pool" -name PG_VERSION -path '*/pgdata/PG_VERSION' | wc -l)"
echo "$2"
LC_ALL=C grep -rloaFf - "$1/pool" || [ $? = 1 ]`
	began := time.Now()
	out, err := d.onEngine(ctx, strings.NewReader(strings.Join(d.needles, "\n")+"\n"), script, d.Data)
	if err != nil {
		return fmt.Errorf("search the pool's files: %w", err)
	}
	clusters, matches, _ := strings.Cut(out, "\n")
	if n, err := strconv.Atoi(strings.TrimSpace(clusters)); err != nil || n < 2 {
		return fmt.Errorf("the pool should hold a template and a preview, and has %q clusters", clusters)
	}
	if err := d.check(matches == "", "none of the %d strings is in any file of the pool (template and preview)%s", len(d.needles), matches); err != nil {
		return err
	}
	d.screen.measured("files searched byte by byte", time.Since(began))
	return nil
}

func (d *demo) runSynchronize(ctx context.Context) error {
	before, err := d.api.Preview(ctx, mayfly.PullRequestName("shop", d.first.Number))
	if err != nil {
		return err
	}
	if err := d.github.commitFiles(ctx, "loyalty", "Top customers", "migrations/0005_top_customers"); err != nil {
		return err
	}
	pushed, err := d.github.sync(ctx, d.first.Number)
	if err != nil {
		return err
	}
	preview, took, err := d.awaitCommit(ctx, pushed)
	if err != nil {
		return err
	}
	if preview.Failure != nil {
		return fmt.Errorf("%s: %s", preview.Name, preview.Failure.Message)
	}
	d.screen.measured("push → migrated in place", took)
	if err := d.check(preview.Generation == before.Generation && preview.ID == before.ID, "the same database: same password, same connection string"); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return fmt.Errorf("connect with the connection string from before: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var version, top int
	if err := conn.QueryRow(ctx, "SELECT version, (SELECT count(*) FROM top_customers) FROM schema_migrations").Scan(&version, &top); err != nil {
		return err
	}
	if err := d.check(version == 5 && top == 100, "version %d; the new view top_customers has %d rows", version, top); err != nil {
		return err
	}
	seen, err := d.awaitWord(ctx, d.first.Number, "success", "is ready")
	if err != nil {
		return err
	}
	return d.check(seen.Comments[0].Edited, "still one comment, updated in place; status success on %.7s", seen.SHA)
}

func (d *demo) runBroken(ctx context.Context) error {
	if err := d.github.commitFiles(ctx, "phones", "One phone number per customer", "broken/0003_unique_phone"); err != nil {
		return err
	}
	opened, err := d.github.open(ctx, "phones", "One phone number per customer")
	if err != nil {
		return err
	}
	preview, took, err := d.awaitCommit(ctx, opened)
	if err != nil {
		return err
	}
	d.screen.measured("delivery → failure reported", took)
	if preview.Failure == nil {
		return errors.New("the migration was meant to fail, and did not")
	}
	seen, err := d.awaitWord(ctx, opened.Number, "failure", "failed")
	if err != nil {
		return err
	}
	d.showWord(seen)
	if err := d.check(strings.Contains(seen.Comments[0].Body, "0003_unique_phone.up.sql:4"), "the comment names file and line"); err != nil {
		return err
	}
	address, err := d.ask(ctx, "url", preview.Name)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("connect to the preview whose migration failed: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var shared int
	err = conn.QueryRow(ctx, "SELECT count(*) FROM (SELECT phone FROM customers GROUP BY phone HAVING count(*) > 1) AS doubled").Scan(&shared)
	if err != nil {
		return err
	}
	return d.check(shared > 0, "the database can be looked at: %d phone numbers belong to several customers, masked but still equal", shared)
}

func (d *demo) runSandbox(ctx context.Context) error {
	const name = "shop-try"
	began := time.Now()
	if err := d.mayfly(ctx, "create", "try", "--project", "shop", "--wait"); err != nil {
		return err
	}
	d.screen.measured("sandbox created by the command line", time.Since(began))
	if _, err := exec.LookPath("psql"); err == nil {
		if err := d.mayfly(ctx, "psql", name, "--", "-c", "SELECT status, count(*) FROM orders GROUP BY status ORDER BY status"); err != nil {
			return err
		}
	}
	address, err := d.ask(ctx, "url", name)
	if err != nil {
		return err
	}
	if err := d.mayfly(ctx, "suspend", name, "--wait"); err != nil {
		return err
	}
	began = time.Now()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("wake %s by connecting: %w", name, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var orders int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM orders WHERE customer_id = 4242").Scan(&orders); err != nil {
		return err
	}
	d.screen.measured("asleep → first result, woken by connecting", time.Since(began))
	if err := d.mayfly(ctx, "ls", "-o", "table"); err != nil {
		return err
	}
	if d.options.keep {
		return nil
	}
	return d.mayfly(ctx, "rm", name, "--wait")
}

func (d *demo) runMerge(ctx context.Context) error {
	name := mayfly.PullRequestName("shop", d.first.Number)
	preview, err := d.api.Preview(ctx, name)
	if err != nil {
		return err
	}
	// The rollback of the last commit is rehearsed on a clone of its own meanwhile.
	var containers, volumes int
	err = poll(ctx, time.Minute, func() (bool, error) {
		var err error
		containers, volumes, err = d.remains(ctx, preview.ID)
		if err != nil || containers == 1 && volumes == 1 {
			return err == nil, err
		}
		return false, fmt.Errorf("before the merge there are %d containers and %d volumes of %s, not one each", containers, volumes, name)
	})
	if err != nil {
		return err
	}
	d.screen.say("Before: 1 container and 1 volume with the label and the name of %s.", preview.ID)
	merged, err := d.github.merge(ctx, d.first.Number)
	if err != nil {
		return err
	}
	err = poll(ctx, time.Minute, func() (bool, error) {
		p, err := d.api.Preview(ctx, name)
		if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
			return true, nil
		}
		return err == nil && p.State == "deleted", errors.Join(err, errors.New("the preview is still there"))
	})
	if err != nil {
		return err
	}
	d.screen.measured("merge → database gone", time.Since(merged.Delivery.Began))
	if containers, volumes, err = d.remains(ctx, preview.ID); err != nil {
		return err
	}
	if err := d.check(containers == 0 && volumes == 0, "after: %d containers, %d volumes", containers, volumes); err != nil {
		return err
	}
	seen, err := d.awaitWord(ctx, d.first.Number, "", "is gone")
	if err != nil {
		return err
	}
	d.screen.comment(seen.Comments[0].Author, seen.Comments[0].Body)
	if conn, err := pgx.Connect(ctx, d.url); err == nil {
		_ = conn.Close(ctx)
		return errors.New("the connection string still works")
	} else if !strings.Contains(err.Error(), "3D000") {
		return fmt.Errorf("the gateway should say that there is no such database: %w", err)
	}
	d.screen.passed("the connection string is refused: no such database (3D000)")
	return nil
}

// remains counts what exists of a preview on the engine and in the pool.
func (d *demo) remains(ctx context.Context, id string) (containers, volumes int, err error) {
	found, err := docker(ctx, nil, "ps", "--all", "--quiet", "--filter", "label=dev.mayfly.preview="+id)
	if err != nil {
		return 0, 0, err
	}
	listed, err := d.onEngine(ctx, nil, `find "$1/pool" -maxdepth 2 -name "$2*"`, d.Data, id)
	return len(strings.Fields(found)), len(strings.Fields(listed)), err
}
