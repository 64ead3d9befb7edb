package provisioner

import (
	"slices"
	"sync"

	"github.com/mayflydb/mayfly/migrations"
)

// archiveKey is what the files found in an archive depend on.
type archiveKey struct {
	repository int64
	sha, tool  string
}

// archiveCache keeps what was found in the archives of the last commits: each is asked for a few times in a row. What is kept is
// bounded by runner.Find for each.
type archiveCache struct {
	mu      sync.Mutex
	entries []archiveEntry
}

type archiveEntry struct {
	key   archiveKey
	files []migrations.File
}

const maxArchives = 4

func (c *archiveCache) get(key archiveKey) ([]migrations.File, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.entries, func(e archiveEntry) bool { return e.key == key })
	if i < 0 {
		return nil, false
	}
	return slices.Clone(c.entries[i].files), true
}

func (c *archiveCache) put(key archiveKey, files []migrations.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, archiveEntry{key, slices.Clone(files)})
	if len(c.entries) > maxArchives {
		c.entries = slices.Delete(c.entries, 0, 1)
	}
}
