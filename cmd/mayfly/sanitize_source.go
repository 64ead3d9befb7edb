package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates"
)

// sourceFlags say where commands about masking rules look at tables and rows.
type sourceFlags struct {
	config, project string
	dsnEnv, dsnFile string
	columns         string
	keyFile         string

	loaded *config.Config
}

// add adds the flags. With columns, a list of columns does as well.
func (f *sourceFlags) add(cmd *cobra.Command, columns bool) {
	cmd.Flags().StringVarP(&f.project, "project", "p", "", "the source of this project of the configuration")
	cmd.Flags().StringVarP(&f.config, "config", "c", "mayfly.yaml", "the server's configuration file, for --project")
	cmd.Flags().StringVar(&f.dsnEnv, "dsn-env", "", "environment variable with the connection string of a source")
	cmd.Flags().StringVar(&f.dsnFile, "dsn-file", "", "file with the connection string of a source")
	if columns {
		cmd.Flags().StringVar(&f.columns, "columns", "", "list of columns, made with sanitize scan --columns, in place of a source")
	}
}

// addKey adds the flag for the masking key.
func (f *sourceFlags) addKey(cmd *cobra.Command, otherwise string) {
	cmd.Flags().StringVar(&f.keyFile, "key-file", "", "file with the masking key; without it "+otherwise)
}

// given is how many sources were given.
func (f *sourceFlags) given() int {
	n := 0
	for _, v := range []string{f.project, f.dsnEnv, f.dsnFile, f.columns} {
		if v != "" {
			n++
		}
	}
	return n
}

func (f *sourceFlags) check(names string) error {
	if f.given() != 1 {
		return usage("give exactly one of %s", names)
	}
	return nil
}

const liveSources = "--project, --dsn-env and --dsn-file"

// source returns the source that was named. Connection strings come from files and the environment, never from arguments.
func (f *sourceFlags) source() (mayfly.Source, error) {
	switch {
	case f.project != "":
		p, err := f.configured()
		return p.Source, err
	case f.dsnEnv != "":
		dsn := os.Getenv(f.dsnEnv)
		if dsn == "" {
			return mayfly.Source{}, mayfly.Errorf(mayfly.CodeInvalid, "the environment variable %s is empty", f.dsnEnv)
		}
		return mayfly.Source{DSN: dsn}, nil
	default:
		raw, err := os.ReadFile(f.dsnFile)
		if err != nil {
			return mayfly.Source{}, mayfly.Errorf(mayfly.CodeInvalid, "read the connection string: %w", err)
		}
		return mayfly.Source{DSN: strings.TrimSpace(string(raw))}, nil
	}
}

// configured returns the project that was named.
func (f *sourceFlags) configured() (mayfly.Project, error) {
	if f.loaded == nil {
		c, err := config.Load(f.config)
		if err != nil {
			return mayfly.Project{}, err
		}
		f.loaded = c
	}
	p, found := f.loaded.Project(f.project)
	if !found {
		return p, mayfly.Errorf(mayfly.CodeNotFound, "%s has no project %s", f.config, f.project)
	}
	return p, nil
}

// rules reads the rules file that was named, or else the project's.
func (f *sourceFlags) rules(path string) (*sanitize.Rules, error) {
	if path == "" && f.project != "" {
		p, err := f.configured()
		if err != nil {
			return nil, err
		}
		path = p.RulesFile
	}
	if path == "" {
		path = "sanitize.yaml"
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the rules: %w", err)
	}
	return sanitize.Parse(path, raw)
}

// key returns the masking key: the file's, or the project's if that is wanted, or one that is thrown away.
func (f *sourceFlags) key(ofProject bool) (key []byte, thrownAway bool, err error) {
	switch {
	case f.keyFile != "":
		raw, err := os.ReadFile(f.keyFile)
		if err != nil {
			return nil, false, mayfly.Errorf(mayfly.CodeInvalid, "read the masking key: %w", err)
		}
		return []byte(strings.TrimSpace(string(raw))), false, nil
	case ofProject && f.project != "":
		if _, err := f.configured(); err != nil {
			return nil, false, err
		}
		key, err = f.loaded.MaskingKey(f.project)
		return key, false, err
	default:
		return sanitize.GenerateKey(), true, nil
	}
}

// tables returns the tables of the source, or those of the list of columns.
func (f *sourceFlags) tables(ctx context.Context) ([]sanitize.Table, error) {
	if f.columns == "" {
		return f.survey(ctx, templates.SurveyOptions{})
	}
	file, err := os.Open(f.columns)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the list of columns: %w", err)
	}
	defer file.Close()
	return sanitize.ReadColumns(f.columns, file)
}

func (f *sourceFlags) survey(ctx context.Context, o templates.SurveyOptions) ([]sanitize.Table, error) {
	source, err := f.source()
	if err != nil {
		return nil, err
	}
	o.Clock = time.Now
	return templates.Survey(ctx, source, o)
}

// sampledRow is a row in COPY text format.
type sampledRow struct {
	schema, table string
	row           []byte
}

// sample reads the catalog and rows; progress goes to standard error.
func (f *sourceFlags) sample(ctx context.Context, s *shell, rows int, names []string) (tables []sanitize.Table, sampled []sampledRow, err error) {
	tables, err = f.survey(ctx, templates.SurveyOptions{
		Rows: rows, Tables: names,
		Row: func(schema, table string, row []byte) error {
			sampled = append(sampled, sampledRow{schema, table, append([]byte(nil), row...)})
			return nil
		},
		Progress: func(done, total int, table string) { s.note("%d of %d: %s", done+1, total, table) },
	})
	return tables, sampled, err
}
