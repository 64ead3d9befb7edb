package templates

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/templates/archive"
)

// allowedSettings are the settings of a database that a template takes over: they change how statements read or how long
// they may take. Others load libraries, change roles or, if an application invented them, may hold secrets.
func allowedSettings() []string {
	return []string{
		"bytea_output", "client_encoding", "client_min_messages", "constraint_exclusion", "cursor_tuple_fraction", "datestyle",
		"deadlock_timeout", "default_statistics_target", "default_text_search_config", "default_toast_compression",
		"default_transaction_deferrable", "default_transaction_isolation", "effective_cache_size", "enable_partitionwise_aggregate",
		"enable_partitionwise_join", "extra_float_digits", "hash_mem_multiplier", "idle_in_transaction_session_timeout",
		"intervalstyle", "jit", "lc_monetary", "lc_numeric", "lc_time", "lock_timeout", "max_parallel_workers_per_gather",
		"plan_cache_mode", "random_page_cost", "seq_page_cost", "search_path", "standard_conforming_strings", "statement_timeout",
		"timezone", "transaction_timeout", "work_mem", "xmlbinary", "xmloption",
	}
}

var (
	// databaseSetting matches what pg_dump writes for pg_db_role_setting. Settings of single roles start with ALTER ROLE.
	databaseSetting = regexp.MustCompile(`^ALTER DATABASE ` + identifier + ` SET ("(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_.$]*) (?:TO|=) (.*);$`)
	literalList     = regexp.MustCompile(`^'(?:[^']|'')*'(?:, '(?:[^']|'')*')*$`)
)

// takeSettings carries over the settings of the source's database, as the owner. find recognises what a template must not have.
func (t *target) takeSettings(ctx context.Context, conn *pgx.Conn, toc *archive.Archive, find func(string) []passage) {
	allowed := allowedSettings()
	for i := range toc.Entries {
		e := &toc.Entries[i]
		if e.Kind != "DATABASE PROPERTIES" {
			continue
		}
		for line := range strings.Lines(e.Definition) {
			m := databaseSetting.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			name := unquoteIdentifier(m[1])
			if !slices.Contains(allowed, strings.ToLower(name)) || !literalList.MatchString(m[2]) {
				t.find(settingLeftOut(name, "only settings that are known to be harmless are taken over"))
				continue
			}
			if len(find(m[2])) > 0 {
				t.find(settingLeftOut(name, "its value looks personal or secret"))
				continue
			}
			set := "ALTER DATABASE " + pgx.Identifier{t.database}.Sanitize() + " SET " + pgx.Identifier{name}.Sanitize() + " TO " + m[2]
			if err := execOne(ctx, conn, set); err != nil {
				t.find(settingLeftOut(name, "the template's server refuses it: "+sourceMessage(err)))
			}
		}
	}
}

func settingLeftOut(name, cause string) Finding {
	return Finding{
		Code: codeDatabaseSetting, Severity: SeverityInfo, Object: "database setting " + name, Cause: cause, Done: "left out",
		Advice: "if the application needs it, let it set it itself when it connects",
	}
}
