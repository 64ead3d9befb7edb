package lint

import (
	"cmp"
	"slices"
	"time"

	"github.com/mayflydb/mayfly/migrations/observe"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	// Info is worth knowing.
	Info Severity = "info"
	// Warning will be felt in production, or may break what runs there.
	Warning Severity = "warning"
	// Error is likely to cause an outage.
	Error Severity = "error"
)

// Code names a kind of finding. Codes are stable.
type Code string

// The codes. Package documentation and docs/migrations.md say when each appears.
const (
	AddColumnRewrite       Code = "add-column-rewrite"
	AddRequiredColumn      Code = "add-required-column"
	AttachPartitionScan    Code = "attach-partition-scan"
	BackfillLarge          Code = "backfill-large"
	BackfillWithDDL        Code = "backfill-with-ddl"
	ChangeColumnType       Code = "change-column-type"
	CharColumn             Code = "char-column"
	CheckValidatedAtOnce   Code = "check-without-not-valid"
	ConcurrentlyInside     Code = "concurrently-in-transaction"
	DomainConstraint       Code = "domain-constraint"
	DropColumn             Code = "drop-column"
	DropDatabase           Code = "drop-database"
	DropIndexNotConcurrent Code = "drop-index-not-concurrent"
	DropNotNull            Code = "drop-not-null"
	DropSchema             Code = "drop-schema"
	DropTable              Code = "drop-table"
	EnumValueRemoved       Code = "enum-value-removed"
	ExclusionConstraint    Code = "exclusion-constraint"
	ForeignKeyAtOnce       Code = "foreign-key-without-not-valid"
	IndexInvalid           Code = "index-invalid"
	IndexNotConcurrent     Code = "index-not-concurrent"
	IntPrimaryKey          Code = "int-primary-key"
	JSONColumn             Code = "json-column"
	LongExclusiveLock      Code = "long-exclusive-lock"
	LongWriteLock          Code = "long-write-lock"
	MissingLockTimeout     Code = "missing-lock-timeout"
	NotRepeatable          Code = "not-repeatable"
	RefreshNotConcurrent   Code = "refresh-not-concurrent"
	ReindexNotConcurrent   Code = "reindex-not-concurrent"
	RenameColumn           Code = "rename-column"
	RenameTable            Code = "rename-table"
	RenameSchema           Code = "rename-schema"
	ScanUnderLock          Code = "scan-under-lock"
	SerialColumn           Code = "serial-column"
	SetNotNullScan         Code = "set-not-null-scan"
	TableRewritten         Code = "table-rewritten"
	TimestampColumn        Code = "timestamp-without-time-zone"
	TransactionInFile      Code = "transaction-in-file"
	TriggerDisabled        Code = "trigger-disabled"
	Truncated              Code = "truncate"
	UniqueConstraint       Code = "unique-constraint-at-once"
	UnusedWaiver           Code = "unused-waiver"
	VacuumFull             Code = "vacuum-full"
	VarcharColumn          Code = "varchar-column"
	WaiverWithoutReason    Code = "waiver-without-reason"
	WideIndex              Code = "wide-index"
)

// Codes lists all codes.
func Codes() []Code {
	return []Code{
		AddColumnRewrite, AddRequiredColumn, AttachPartitionScan, BackfillLarge, BackfillWithDDL, ChangeColumnType, CharColumn,
		CheckValidatedAtOnce, ConcurrentlyInside, DomainConstraint, DropColumn, DropDatabase, DropIndexNotConcurrent, DropNotNull,
		DropSchema, DropTable, EnumValueRemoved, ExclusionConstraint, ForeignKeyAtOnce, IndexInvalid, IndexNotConcurrent,
		IntPrimaryKey, JSONColumn, LongExclusiveLock, LongWriteLock, MissingLockTimeout, NotRepeatable, RefreshNotConcurrent,
		ReindexNotConcurrent, RenameColumn, RenameTable, RenameSchema, ScanUnderLock, SerialColumn, SetNotNullScan, TableRewritten,
		TimestampColumn, TransactionInFile, TriggerDisabled, Truncated, UniqueConstraint, UnusedWaiver, VacuumFull, VarcharColumn,
		WaiverWithoutReason, WideIndex,
	}
}

// Finding is one thing to say about one statement.
type Finding struct {
	Code     Code
	Severity Severity
	Line     int
	EndLine  int
	Relation string
	Message  string
	Instead  string
	Scale    *Scale
	// Waived is the reason that the file gives; "" if it gives none.
	Waived string

	statement *observe.Statement
}

// Scale is what something cost on this data, so that one can tell what it will cost on other data.
type Scale struct {
	DurationMS float64 `json:"duration_ms"`
	Rows       int64   `json:"rows"` // PostgreSQL's estimate; -1 if it has none
	Bytes      int64   `json:"bytes"`
	// Grows is true if the time grows with the table.
	Grows bool `json:"grows"`
}

// Thresholds decide about the severity of what costs more the more data there is.
type Thresholds struct {
	// WarnBytes and ErrorBytes are sizes of a table, WarnTime and ErrorTime how long others had to wait.
	WarnBytes, ErrorBytes int64
	WarnTime, ErrorTime   time.Duration
	// BackfillRows is from how many rows on one statement should write in batches.
	BackfillRows int64
}

// Defaults returns the thresholds that hold unless others are set.
func Defaults() Thresholds {
	return Thresholds{
		WarnBytes: 16 << 20, ErrorBytes: 1 << 30, WarnTime: 200 * time.Millisecond, ErrorTime: 2 * time.Second, BackfillRows: 10_000,
	}
}

// File is one migration that ran.
type File struct {
	Path string
	// Text is what was sent of it.
	Text       string
	Statements []*observe.Statement
	// Relation finds a relation by its OID; nil if there is none.
	Relation func(oid uint32) *observe.Relation
}

// checking is one Check.
type checking struct {
	file     File
	limits   Thresholds
	findings []Finding
	now      *observe.Statement
	words    []string // of the current statement, in lower case
	// explained are relations whose rewrite, scan or lock another finding of the statement speaks of.
	explained map[string]bool
}

// Check returns the findings of one migration, in the order of its statements. The zero Thresholds are Defaults.
func Check(file File, limits Thresholds) []Finding {
	if limits == (Thresholds{}) {
		limits = Defaults()
	}
	c := &checking{file: file, limits: limits}
	for _, s := range file.Statements {
		c.now, c.explained = s, map[string]bool{}
		c.words = observe.Words(file.sql(s), 200)
		if s.Failed {
			c.failed()
			continue
		}
		for _, change := range s.Changes {
			c.change(change)
		}
		c.statement()
		c.leftOver()
	}
	c.transactions()
	c.once()
	c.timeouts()
	c.waive()
	slices.SortStableFunc(c.findings, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	return c.findings
}

// once drops what is said twice: that a lock was held for long, or during a scan, and that rows were written meanwhile.
func (c *checking) once() {
	c.findings = slices.DeleteFunc(c.findings, func(f Finding) bool {
		return (f.Code == LongExclusiveLock || f.Code == LongWriteLock || f.Code == ScanUnderLock) && slices.ContainsFunc(c.findings, func(o Finding) bool {
			return o.Code == BackfillWithDDL && o.Relation == f.Relation
		})
	})
}

// sql is a statement as it stands in the file.
func (f File) sql(s *observe.Statement) string {
	if s.Begin < 0 || s.End > len(f.Text) || s.Begin > s.End {
		return s.SQL
	}
	return f.Text[s.Begin:s.End]
}

// say adds a finding about the current statement.
func (c *checking) say(code Code, severity Severity, relation, instead, message string) *Finding {
	c.findings = append(c.findings, Finding{
		Code: code, Severity: severity, Line: c.now.Line, EndLine: c.now.EndLine, Relation: relation, Message: message, Instead: instead, statement: c.now,
	})
	return &c.findings[len(c.findings)-1]
}

// cost adds a finding whose severity depends on how much data there was and how long it took.
func (c *checking) cost(code Code, r *observe.Relation, instead, message string) {
	c.explained[r.Title()] = true
	held, lock := c.blocked(r.Title())
	f := c.say(code, c.severity(r.Bytes, held), r.Title(), instead, message+": "+c.figures(r, held, lock))
	f.Scale = &Scale{DurationMS: c.now.DurationMS, Rows: r.Rows, Bytes: r.Bytes, Grows: true}
}

func (c *checking) severity(bytes int64, held time.Duration) Severity {
	switch {
	case held >= c.limits.ErrorTime, bytes >= c.limits.ErrorBytes:
		return Error
	case held >= c.limits.WarnTime, bytes >= c.limits.WarnBytes:
		return Warning
	}
	return Info
}

// blocked returns the strongest lock on a relation that was held while the statement ran, taken by itself or by one before it in
// its transaction, and for how long.
func (c *checking) blocked(relation string) (held time.Duration, mode string) {
	for _, s := range c.file.Statements {
		if s.Index > c.now.Index || s.InTransaction != c.now.InTransaction && s != c.now {
			continue
		}
		for _, l := range s.Locks {
			if l.Relation == relation && strength(l.Mode) >= strength("ShareLock") && strength(l.Mode) > strength(mode) {
				held, mode = ms(l.HeldMS), l.Mode
			}
		}
	}
	return held, mode
}

// strength orders the modes of locks (PostgreSQL documentation, table 13.2).
func strength(mode string) int {
	return slices.Index([]string{
		"", "AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock",
	}, mode)
}
