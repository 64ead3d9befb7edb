package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/sanitize"
)

// measureEngine masks COPY text in this process, on one core, with nothing before and after it: eight of twenty columns.
func (b *bench) measureEngine(context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const rows, least = 40_000, 400 * time.Millisecond
	masker, err := engineMasker()
	if err != nil {
		return err
	}
	data := engineRows(rows)
	w := masker.Writer(io.Discard)
	pass := func() error { _, err := w.Write(data); return err }
	if err := pass(); err != nil { // the writer's memory grows once
		return err
	}
	var rates series
	for range max(b.n, 20) {
		passes, began := 0, threadTime()
		took := time.Duration(0)
		for ; took < least; took = threadTime() - began {
			if err := pass(); err != nil {
				return err
			}
			passes++
		}
		rates.add(float64(passes) * float64(len(data)) / 1e6 / took.Seconds())
	}
	b.record(rates.result("masking_mb_s", "MB/s"), map[string]any{
		"what": "COPY text of 20 columns through the masking engine on one core, 8 of them masked: e-mail, first and last name, phone, street, city, note, token; " +
			"short runs of the same rows, of which the caches of the columns hold a part; by the CPU time of the thread, which other load does not change much",
		"row_bytes": len(data) / rows, "higher_is_better": true,
	})
	return nil
}

// threadTime is what this thread has computed so far.
func threadTime() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// engineMasker binds the rules to the shop's customers.
func engineMasker() (*sanitize.TableMasker, error) {
	rules, err := sanitize.Parse("mask.yaml", []byte(maskRules))
	if err != nil {
		return nil, err
	}
	key := []byte("0123456789abcdef0123456789abcdef")
	tables := []sanitize.Table{
		{Schema: "public", Name: "customers", Columns: engineColumns("email", "note")},
		{Schema: "public", Name: "orders", Columns: engineColumns("contact_email", "comment")},
	}
	for _, name := range []string{"events", "documents", "articles"} { // a rule that matches nothing would be an error
		tables = append(tables, sanitize.Table{Schema: "public", Name: name, Columns: []sanitize.Column{{Name: "id", Type: "bigint"}}})
	}
	plan, err := rules.Plan(tables, key)
	if err != nil {
		return nil, err
	}
	return plan.Table("public", "customers"), nil
}

// engineColumns are the masked columns and twelve others.
func engineColumns(email, note string) []sanitize.Column {
	columns := []sanitize.Column{{Name: "id", Type: "bigint", NotNull: true, PrimaryKey: true, Unique: true}}
	for _, name := range []string{email, "first_name", "last_name", "phone", "street", "city", note, "reference"} {
		columns = append(columns, sanitize.Column{Name: name, Type: "text"})
	}
	for i := range 11 {
		columns = append(columns, sanitize.Column{Name: fmt.Sprintf("kept_%d", i), Type: "text"})
	}
	return columns
}

func engineRows(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%d\tcustomer%d@mail%d.example\tFirst%d\tLast%d\t+49 30 %d\t%d Some Street\tTown%d", i, i, i%97, i%1009, i%5003, 10_000_000+i, i%400, i%701)
		fmt.Fprintf(&b, "\tCalled on day %d, asked for %012x and wants to be called back in the evening\t%032x", i%365, i*7919, i*104729)
		fmt.Fprintf(&b, "\tDE\tde\tEUR\tactive\tplan%d\t%d\t%d.50\tt", i%5, i%1000, i)
		b.WriteString("\t2024-03-05 10:11:12.123456+00\t2025-03-05 10:11:12.123456+00\t2025-06-05 10:11:12.123456+00\n")
	}
	return b.Bytes()
}
