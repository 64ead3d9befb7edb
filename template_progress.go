package mayfly

import "time"

// BuildProgress is how far a template's build is. Bytes and TotalBytes count in the unit that is known beforehand: the size of the
// tables in a live source, the compressed size of their data in an archive.
type BuildProgress struct {
	Phase      string `json:"phase"`
	Table      string `json:"table,omitempty"` // of the latest change; "schema.table"
	Bytes      int64  `json:"bytes"`
	TotalBytes int64  `json:"total_bytes"`
	Rows       int64  `json:"rows"`
	// TotalRows is an estimate, 0 if there is none.
	TotalRows   int64 `json:"total_rows"`
	TablesDone  int   `json:"tables_done"`
	TablesTotal int   `json:"tables_total"`
	// BytesPerSecond is the rate of the last half minute, 0 if it is not known yet. SecondsLeft is what remains of the phase at that
	// rate, nil if that cannot be told.
	BytesPerSecond int64      `json:"bytes_per_second,omitempty"`
	SecondsLeft    *int64     `json:"seconds_left,omitempty"`
	UpdatedAt      *time.Time `json:"updated_at,omitempty"`
	// Running are the tables that are being loaded now, Finished those that were finished last, the latest at the end.
	Running  []TableProgress `json:"running,omitempty"`
	Finished []TableProgress `json:"finished,omitempty"`
}

// TableProgress is how far one table is. Bytes are in the unit of BuildProgress; a finished table has its exact number of rows.
type TableProgress struct {
	Table          string `json:"table"`
	Bytes          int64  `json:"bytes"`
	TotalBytes     int64  `json:"total_bytes"`
	Rows           int64  `json:"rows"`
	TotalRows      int64  `json:"total_rows,omitempty"`
	BytesPerSecond int64  `json:"bytes_per_second,omitempty"`
	SecondsLeft    *int64 `json:"seconds_left,omitempty"`
	DurationMS     int64  `json:"duration_ms"`
}
