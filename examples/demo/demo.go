package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/mayflydb/mayfly/client"
)

// demo is one run: what it made, and how to reach it.
type demo struct {
	record
	options options
	screen  *screen
	began   time.Time

	production *production
	needles    []string
	github     *github
	api        *client.Client
	token      string

	first *pullRequest
	url   string // of its preview, with the password
	original,
	masked map[string]string
}

// stage is one chapter of the story.
type stage struct {
	title string
	run   func(*demo, context.Context) error
}

func stages() []stage {
	return []stage{
		{"Production: a shop with real-looking customers", (*demo).runProduction},
		{"Mayfly starts", (*demo).runService},
		{"A template: production, masked while it streams by", (*demo).runTemplate},
		{"A pull request with two migrations", (*demo).runPullRequest},
		{"What the developer connects to", (*demo).runLook},
		{"What is not in it: a search for production's data", (*demo).runSearch},
		{"Another commit, with a third migration", (*demo).runSynchronize},
		{"A migration that only fails on real data", (*demo).runBroken},
		{"A sandbox from the command line; asleep and awake", (*demo).runSandbox},
		{"The pull request is merged", (*demo).runMerge},
	}
}

// run shows everything. Whatever happens, nothing stays behind, unless the demo succeeds and is to be kept.
func run(ctx context.Context, o options) error {
	d := &demo{options: o, screen: newScreen(os.Stdout), began: time.Now()}
	d.InCompose, d.Compose, d.Image, d.ServiceImage = o.inCompose, o.compose, o.image, o.service
	if err := d.makeDirectory(); err != nil {
		return err
	}
	err := d.tell(ctx)
	if err == nil && o.keep {
		d.explain()
		return d.save()
	}
	if err != nil && ctx.Err() == nil {
		if log := d.serviceLog(ctx); log != "" {
			fmt.Fprintln(d.screen.w)
			d.screen.say("%s", d.screen.paint(bold, "The last lines of the service's log:"))
			d.screen.block(log)
		}
	}
	fmt.Fprintln(d.screen.w)
	d.screen.say("Cleaning up.")
	return errors.Join(err, d.remove(ctx))
}

func (d *demo) tell(ctx context.Context) error {
	for i, s := range stages() {
		d.screen.heading(i+1, s.title)
		if err := s.run(d, ctx); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			fmt.Fprintf(d.screen.w, "\n   %s step %d (%s): %v\n", d.screen.paint(bold+";"+red, "✗ FAILED"), i+1, s.title, err)
			return fmt.Errorf("step %d failed: %s", i+1, s.title)
		}
	}
	d.screen.summary(time.Since(d.began))
	return nil
}

func (d *demo) makeDirectory() error {
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return err
	}
	d.ID, d.Dir, d.Data = strings.TrimPrefix(filepath.Base(dir), prefix), dir, filepath.Join(dir, "data")
	if d.InCompose && runtime.GOOS != "linux" {
		d.Data = "/var/lib/" + prefix + d.ID // in the engine's virtual machine, where this machine's directories are not
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the sockets of previews are reached through it
		return err
	}
	return d.save()
}

// check fails the demo unless what it claims holds, and says so if it does.
func (d *demo) check(holds bool, format string, args ...any) error {
	if !holds {
		return fmt.Errorf("this does not hold: "+format, args...)
	}
	d.screen.passed(format, args...)
	return nil
}

func (d *demo) runProduction(ctx context.Context) error {
	began := time.Now()
	d.Production = d.composeProject() + "-production"
	if err := d.save(); err != nil {
		return err
	}
	var err error
	if d.production, err = launchProduction(ctx, d.options, d.ID, d.Production); err != nil {
		return err
	}
	d.screen.say("PostgreSQL %d at %s (%s), its schema made by the repository's own migrations.", d.options.major, d.production.address, d.Image)
	d.screen.say("Generating customers, orders, payments, support notes, an audit trail …")
	if err := d.production.fill(ctx); err != nil {
		return err
	}
	d.screen.measured("production generated", time.Since(began))
	return d.describeProduction(ctx)
}

func (d *demo) describeProduction(ctx context.Context) error {
	conn, err := d.production.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var size int64
	var customers, orders, notes, audit int
	err = conn.QueryRow(ctx, `SELECT pg_database_size('shop'), (SELECT count(*) FROM customers), (SELECT count(*) FROM orders),
		(SELECT count(*) FROM support_notes), (SELECT count(*) FROM audit_log)`).Scan(&size, &customers, &orders, &notes, &audit)
	if err != nil {
		return fmt.Errorf("look at production: %w", err)
	}
	d.screen.say("%d customers, %d orders, %d support notes, %d audit entries in 7 partitions.", customers, orders, notes, audit)
	if err := d.check(size > 300<<20, "production has %s", mebibytes(size)); err != nil {
		return err
	}
	if d.original, err = person(ctx, conn); err != nil {
		return err
	}
	d.screen.say("Among them, unmistakably: %s, %s.", d.original["name"], d.original["email"])
	if d.needles, err = d.production.needles(ctx); err != nil {
		return err
	}
	found, err := d.production.found(ctx, d.needles)
	if err != nil {
		return err
	}
	return d.check(found == len(d.needles), "a byte search of its files finds all of %d planted strings and customers' addresses", found)
}

func (d *demo) runService(ctx context.Context) error {
	began := time.Now()
	if err := d.writeSecrets(); err != nil {
		return err
	}
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return err
	}
	d.URL = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	listen, seen, err := d.hostAddress(ctx)
	if err != nil {
		return err
	}
	if err := d.startGitHub(ctx, listen); err != nil {
		return err
	}
	source := d.production.address
	if d.InCompose {
		source = "production:5432"
	}
	if err := d.writeConfiguration(source, strings.Replace(d.GitHubURL, listen, seen, 1), ports); err != nil {
		return err
	}
	d.screen.say("A fake GitHub with a real Git repository (%s) at %s.", repository, d.GitHubURL)
	how := "this machine, as root"
	if d.InCompose {
		how = "a container of its own, with a state Postgres beside it (docker compose)"
	}
	d.screen.say("The service runs on %s; its files are in %s.", how, d.Dir)
	if err := d.startService(ctx, ports); err != nil {
		return err
	}
	d.screen.measured("service ready, with its pool and its state database made", time.Since(began))
	d.screen.say("API at %s, gateway at 127.0.0.1:%d.", d.URL, ports[1])
	return nil
}

func (d *demo) runTemplate(ctx context.Context) error {
	began := time.Now()
	if err := d.mayfly(ctx, "template", "build", "--project", "shop", "--wait", "-o", "table"); err != nil {
		return err
	}
	took := time.Since(began)
	all, err := d.api.Templates(ctx, "shop")
	if err != nil {
		return err
	}
	if err := d.check(len(all) == 1 && all[0].State == "ready", "the template is ready"); err != nil {
		return err
	}
	d.screen.measured(fmt.Sprintf("template built, %d rows, %s", all[0].RowCount, mebibytes(all[0].SizeBytes)), took)
	return d.showAttestation(ctx, all[0].ID)
}

// showAttestation checks the signature under what the build states about its own result.
func (d *demo) showAttestation(ctx context.Context, template string) error {
	verify := []string{"template", "verify", template, "-o", "json"}
	d.screen.command(append([]string{"mayfly"}, verify...)...)
	answer, err := d.ask(ctx, verify...)
	if err != nil {
		return err
	}
	var attested struct {
		KeyID     string `json:"key_id"`
		Statement struct {
			Coverage []struct {
				Masked *struct{} `json:"masked"`
			} `json:"coverage"`
		} `json:"statement"`
	}
	if err := json.Unmarshal([]byte(answer), &attested); err != nil {
		return fmt.Errorf("read the attestation: %w", err)
	}
	masked := 0
	for _, column := range attested.Statement.Coverage {
		if column.Masked != nil {
			masked++
		}
	}
	return d.check(masked > 0, "signed by key %s: %d columns, %d of them masked, no original of these was found", attested.KeyID, len(attested.Statement.Coverage), masked)
}

// explain says how to use a demo that was kept.
func (d *demo) explain() {
	d.screen.say(`
   It is left running. To use it:

     export MAYFLY_SERVER=%s
     export MAYFLY_TOKEN="$(cat %s)"
     export PATH="%s:$PATH"

     mayfly ls
     mayfly create --project shop --wait
     mayfly psql shop-pr-2
     git clone %s shop       # add %s/0006_yours.up.sql on a branch, push it, then:
     scripts/demo.sh open BRANCH   # a pull request; later: sync NUMBER, merge NUMBER

   Configuration and logs: %s
   To stop it and remove everything: scripts/demo.sh stop`,
		d.URL, filepath.Join(d.config(), "api.token"), filepath.Dir(d.options.mayfly), d.Clone, migrationsDir, d.Dir)
}
