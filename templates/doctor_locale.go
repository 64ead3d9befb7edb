package templates

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mayflydb/mayfly/templates/archive"
)

const adviceLocale = "set postgres.image to an image that has the locale (in Debian's: the packages locales, with a locale-gen, or locales-all)"

// languageTag matches the names that libc gives to locales of languages.
var languageTag = regexp.MustCompile(`^([a-z]{2,3})[_-]([A-Z]{2})(?:[.@-].*)?$`)

// icuLocale returns what ICU calls a locale, "" if the name says nothing about a language.
func icuLocale(name string) string {
	if m := languageTag.FindStringSubmatch(name); m != nil {
		return m[1] + "-" + m[2]
	}
	return ""
}

var (
	localeName    = regexp.MustCompile(`\b(?:ICU_LOCALE|LOCALE|LC_COLLATE) = '([^']+)'`)
	icuLocaleName = regexp.MustCompile(`\bICU_LOCALE = '([^']+)'`)
)

// databaseFallbacks returns options for CREATE DATABASE to try, in this order, in place of those that the image refuses: ICU has the
// rules of every language, so text sorts nearly as it did.
func databaseFallbacks(options string) []string {
	encoding := encodingOption.FindString(options)
	icu := ""
	if m := icuLocaleName.FindStringSubmatch(options); m != nil {
		icu = m[1]
	} else if m := localeName.FindStringSubmatch(options); m != nil {
		icu = icuLocale(m[1])
	}
	var all []string
	for _, locale := range []string{"C.UTF-8", "C"} {
		if icu != "" {
			all = append(all, encoding+" LOCALE_PROVIDER = icu ICU_LOCALE = "+quoteLiteral(icu)+" LOCALE = "+quoteLiteral(locale))
		}
	}
	for _, locale := range []string{"C.UTF-8", "C"} {
		all = append(all, encoding+" LOCALE = "+quoteLiteral(locale))
	}
	return all
}

func databaseLocaleMissing(database, wanted, used string) Finding {
	return Finding{
		Code: codeLocaleMissing, Severity: SeverityWarning, Object: "database " + database, Cause: "the image has not the source's locale: " + wanted,
		Done: "the template uses " + strings.TrimSpace(encodingOption.ReplaceAllString(used, "")) + ": text may sort and fold differently", Advice: adviceLocale,
	}
}

// missingCollation matches what the server says about a collation of its own that it lacks. Those of the source were created before.
var missingCollation = regexp.MustCompile(`^collation "pg_catalog\.(.+)" for encoding "[^"]+" does not exist$`)

// makeCollation puts another collation in the place of one that the image's libc lacks.
func (r *restorer) makeCollation(ctx context.Context, name string) error {
	admin, err := r.superuser(ctx)
	if err != nil {
		return err
	}
	return r.substituteCollation(ctx, admin, relation{"pg_catalog", name}, name, "")
}

var (
	collationLocale   = regexp.MustCompile(`\b(?:locale|lc_collate) = '([^']+)'`)
	nondeterministic  = regexp.MustCompile(`\bdeterministic = false\b`)
	collationProvider = regexp.MustCompile(`\bprovider = icu\b`)
)

// createCollation creates a collation of the source, or another one in its place.
func (r *restorer) createCollation(ctx context.Context, e *archive.Entry) error {
	err := execAll(ctx, r.conn, e.Definition)
	var server *pgconn.PgError
	if !errors.As(err, &server) || hasState(err, sqlInsufficientPriv) {
		return err
	}
	locale, extra := "", ""
	if m := collationLocale.FindStringSubmatch(e.Definition); m != nil {
		locale = m[1]
	}
	if nondeterministic.MatchString(e.Definition) {
		extra = ", deterministic = false"
		if collationProvider.MatchString(e.Definition) && icuLocale(locale) == "" {
			locale = "en_US" // only ICU can do that, and any language is nearer than none
		}
	}
	if other := r.substituteCollation(ctx, r.conn, relation{e.Schema, e.Tag}, locale, extra); other != nil {
		return err
	}
	return nil
}

// substituteCollation makes a collation that is as near as possible to the locale.
func (r *restorer) substituteCollation(ctx context.Context, conn *pgx.Conn, name relation, locale, extra string) error {
	var options []string
	if icu := icuLocale(locale); icu != "" {
		options = append(options, "provider = icu, locale = "+quoteLiteral(icu)+extra)
	}
	if extra == "" {
		options = append(options, "provider = libc, locale = 'C.UTF-8'", "provider = libc, locale = 'C'")
	}
	var err error
	for _, o := range options {
		if err = execOne(ctx, conn, "CREATE COLLATION IF NOT EXISTS "+name.sql()+" ("+o+")"); err == nil {
			r.target.find(Finding{
				Code: codeCollationMissing, Severity: SeverityWarning, Object: "collation " + name.String(),
				Cause: "the image has not the locale \"" + locale + "\"", Done: "created under its name with " + o + ": text may sort differently", Advice: adviceLocale,
			})
			return nil
		}
	}
	return err
}

// provide makes what a statement lacks and a template may have: a role, or a collation. made says what was made for it before.
func (r *restorer) provide(ctx context.Context, err error, made *[]string) (again bool, _ error) {
	var server *pgconn.PgError
	if !errors.As(err, &server) || server.Code != sqlUndefinedObject || len(*made) >= maxProvided || slices.Contains(*made, server.Message) {
		return false, err
	}
	*made = append(*made, server.Message)
	if m := missingRole.FindStringSubmatch(server.Message); m != nil {
		return true, r.makeRole(ctx, m[1])
	}
	if m := missingCollation.FindStringSubmatch(server.Message); m != nil {
		return true, r.makeCollation(ctx, m[1])
	}
	return false, err
}

// maxProvided bounds how much one definition can ask for: anything can say that a role does not exist.
const maxProvided = 200
