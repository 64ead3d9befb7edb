package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	out     string
	docs    string
	program string
	parent  string
	major   int
	n       int
	builds  int
	sizes   []size
	shop    float64 // GiB of the database that templates are built from
	only    []string
	quick   bool
}

// size is how much data a template holds.
type size struct {
	gib float64
	// key is the size in names: "1g", "0.1g" becomes "100m".
	key string
}

func (s size) String() string { return strconv.FormatFloat(s.gib, 'g', -1, 64) + " GiB" }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	o, err := parseOptions(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var sizes, only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.out, "out", "bench/results.json", "file of the results; with -only the others in it stay")
	flags.StringVar(&o.docs, "docs", "docs/benchmarks.md", "page whose table of figures is rewritten; \"\" for none")
	flags.StringVar(&o.program, "mayfly", "bin/mayfly", "the program to measure")
	flags.StringVar(&o.parent, "dir", "/var/tmp", "where the data goes for the time of the run: a disk, not memory; keep the path short")
	flags.IntVar(&o.major, "major", 15, "major version of Postgres")
	flags.IntVar(&o.n, "n", 40, "measurements of each kind")
	flags.IntVar(&o.builds, "builds", 3, "template builds of each kind")
	flags.StringVar(&sizes, "sizes", "1,8", "sizes of the templates in GiB, smallest first")
	flags.Float64Var(&o.shop, "shop", 2.1, "size in GiB of the database that templates are built from")
	flags.StringVar(&only, "only", "", "only these benchmarks, separated by commas: "+strings.Join(benchmarkNames(), ", "))
	flags.BoolVar(&o.quick, "quick", false, "a look in two minutes: little data, n=5, results to bench/tmp, docs untouched")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.quick {
		o.docs = ""
		o.out = filepath.Join(filepath.Dir(o.out), "tmp", "quick.json")
		setUnless(given["n"], &o.n, 5)
		setUnless(given["builds"], &o.builds, 1)
		setUnless(given["sizes"], &sizes, "0.1,0.4")
		setUnless(given["shop"], &o.shop, 0.2)
	}
	if o.n < 1 || o.builds < 1 || o.shop < 0.02 {
		return o, errors.New("-n and -builds must be at least 1, -shop at least 0.02")
	}
	if only != "" {
		o.only = strings.Split(only, ",")
		for _, name := range o.only {
			if !slices.Contains(benchmarkNames(), name) {
				return o, fmt.Errorf("-only: there is no benchmark %q", name)
			}
		}
	}
	var err error
	o.sizes, err = parseSizes(sizes)
	return o, err
}

func setUnless[T any](given bool, v *T, value T) {
	if !given {
		*v = value
	}
}

func parseSizes(text string) ([]size, error) {
	var sizes []size
	for part := range strings.SplitSeq(text, ",") {
		gib, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || gib < 0.02 || gib > 1000 {
			return nil, fmt.Errorf("-sizes: %q is not a number of GiB from 0.02 to 1000", part)
		}
		key := strconv.FormatFloat(gib, 'f', -1, 64) + "g"
		if gib != float64(int(gib)) {
			key = strconv.Itoa(int(gib*1000)) + "m"
		}
		sizes = append(sizes, size{gib: gib, key: key})
	}
	slices.SortFunc(sizes, func(a, b size) int { return int(1000 * (a.gib - b.gib)) })
	return sizes, nil
}

// benchmark is one group of measurements that belong together.
type benchmark struct {
	name string
	run  func(*bench, context.Context) error
}

// benchmarks are in the order in which they run: builds come last, because the templates that they replace are deleted
// in the background.
func benchmarks() []benchmark {
	return []benchmark{
		{"create", (*bench).measureCreate},
		{"wake", (*bench).measureWake},
		{"cli", (*bench).measureCLI},
		{"disk", (*bench).measureSpace},
		{"gateway", (*bench).measureGateway},
		{"api", (*bench).measureAPI},
		{"pr", (*bench).measurePullRequests},
		{"webhook", (*bench).measureWebhooks},
		{"github", (*bench).measureGitHub},
		{"hundred", (*bench).measureHundred},
		{"engine", (*bench).measureEngine},
		{"migrations", (*bench).measureMigrations},
		{"build", (*bench).measureBuilds},
		{"archive", (*bench).measureArchive},
	}
}

func benchmarkNames() []string {
	var names []string
	for _, m := range benchmarks() {
		names = append(names, m.name)
	}
	return names
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root, as mayfly serve does: sudo make bench")
	}
	removeStale(ctx, o.parent)
	b := &bench{options: o, began: time.Now()}
	defer func() {
		b.say("cleaning up")
		err = errors.Join(err, b.close(context.WithoutCancel(ctx)))
	}()
	if err := b.setUp(ctx); err != nil {
		return err
	}
	for _, m := range benchmarks() {
		if !b.selected(m.name) {
			continue
		}
		b.say("measuring: %s", m.name)
		if err := m.run(b, ctx); err != nil {
			return fmt.Errorf("benchmark %s: %w (the service's log is shown above)", m.name, errors.Join(err, b.showLog()))
		}
	}
	return b.report()
}

// selected reports whether a benchmark is to be run.
func (b *bench) selected(name string) bool { return len(b.only) == 0 || slices.Contains(b.only, name) }

// say tells on the terminal what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%5.1fs] %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}
