package mayfly

import "time"

// SnapshotState is where a snapshot is.
type SnapshotState string

// The states of a snapshot.
const (
	SnapshotMaking  SnapshotState = "making"
	SnapshotReady   SnapshotState = "ready"
	SnapshotDeleted SnapshotState = "deleted" // gone; the row stays as history
)

// Snapshot is a state of a preview's data, in a frozen volume of the same id, that previews can be made from and go back to.
type Snapshot struct {
	ID      string // "n" and 25 base32 characters, also the name of its volume
	Name    string // unique among those of its preview
	Project string
	// PreviewID is the preview it is of, PreviewName its name while it lives; the store fills that in.
	PreviewID, PreviewName string
	// Branch means that it was made for one branch, whose origin it is. Such a snapshot is not shown.
	Branch bool
	// TemplateID is what its data was cloned from once. TemplateVersion is for people; the store fills it in.
	TemplateID      string
	TemplateVersion int
	State           SnapshotState
	SizeBytes       int64
	// ObservedSHA, ObservedBaseRef and ObservedBaseSHA are what the preview had when it was made.
	ObservedSHA, ObservedBaseRef, ObservedBaseSHA string
	// Keep means that it outlives its preview, until ExpiresAt.
	Keep      bool
	ExpiresAt *time.Time
	CreatedBy string
	CreatedAt time.Time
}

// SizeClass is a set of limits that a preview can be made with. Zero means what the project has.
type SizeClass struct {
	MemoryBytes int64
	CPUs        float64
	Pids        int64
	ShmBytes    int64
	DiskBytes   int64
}
