package forge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// filesQuery reads a directory of a commit, two levels deep, with the contents of its files: one request instead of one for each
// level and each file.
const filesQuery = `query($repository: ID!, $commit: GitObjectID!, $directory: String!) {
  node(id: $repository) {
    ... on Repository {
      commit: object(oid: $commit) { __typename }
      directory: object(expression: $directory) {
        __typename
        ... on Tree { entries { ...entry object { ...content ... on Tree { entries { ...entry object { ...content } } } } } }
      }
    }
  }
}
fragment entry on TreeEntry { name mode type oid }
fragment content on Blob { byteSize isBinary isTruncated text }`

type queriedTree struct {
	Type    string         `json:"__typename"`
	Entries []queriedEntry `json:"entries"`
}

type queriedEntry struct {
	Name   string `json:"name"`
	Mode   int    `json:"mode"`
	Type   string `json:"type"`
	OID    string `json:"oid"`
	Object *struct {
		ByteSize    int64          `json:"byteSize"`
		IsBinary    *bool          `json:"isBinary"`
		IsTruncated bool           `json:"isTruncated"`
		Text        *string        `json:"text"`
		Entries     []queriedEntry `json:"entries"`
	} `json:"object"`
}

type queryAnswer struct {
	Data struct {
		Node *struct {
			Commit    *queriedTree `json:"commit"`
			Directory *queriedTree `json:"directory"`
		} `json:"node"`
	} `json:"data"`
	Errors []struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"errors"`
}

const (
	// maxQueried is how large a directory may have been at the last look to be read whole again: beyond, only new files are read.
	maxQueried = 512 << 10
	// queryPause is for how long no query is made after one was not answered.
	queryPause = 10 * time.Minute
)

// queries is what the client knows about reading directories by query.
type queries struct {
	nodes  map[int64]string // global id by repository
	sizes  map[string]int64 // bytes at the last look, by repository and directory
	paused time.Time        // until when
}

// learnNode remembers the global id of a repository, which queries want.
func (c *Client) learnNode(repoID int64, node string) {
	if node == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queries.nodes[repoID] = node
}

// node returns the global id of a repository if a directory of it can be read by query.
func (c *Client) node(repoID int64, dir string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if dir == "" || c.now().Before(c.queries.paused) || c.queries.sizes[fmt.Sprintf("%d %s", repoID, dir)] > maxQueried {
		return ""
	}
	return c.queries.nodes[repoID]
}

func (c *Client) pauseQueries(ctx context.Context, why error) {
	c.log.DebugContext(ctx, "github query not answered; files are read one by one", "error", why)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queries.paused = c.now().Add(queryPause)
}

// graphQLPath is relative to the REST API's address. GitHub Enterprise Server has it beside that one's /api/v3.
func (c *Client) graphQLPath() string {
	if strings.HasSuffix(c.requests.BaseURL.Path, "/api/v3/") {
		return "../graphql"
	}
	return "graphql"
}

// query reads a directory by query. ok is false if it has to be read in another way, whatever the reason.
func (r *reader) query(ctx context.Context, sha, dir string) (found []entry, ok bool) {
	node := r.client.node(r.repoID, dir)
	if node == "" {
		return nil, false
	}
	body := map[string]any{"query": filesQuery, "variables": map[string]string{"repository": node, "commit": sha, "directory": sha + ":" + dir}}
	var answer queryAnswer
	in := call{method: http.MethodPost, path: r.client.graphQLPath(), body: body}
	if err := r.client.exchange(ctx, r.who, in, &answer); err != nil {
		if ctx.Err() == nil {
			r.client.pauseQueries(ctx, err)
		}
		return nil, false
	}
	switch repository := answer.Data.Node; {
	case repository == nil || len(answer.Errors) > 0:
		r.client.pauseQueries(ctx, fmt.Errorf("query refused: %v", answer.Errors)) //nolint:err113 // for the log
		return nil, false
	case repository.Commit == nil || repository.Directory != nil && repository.Directory.Type != "Tree":
		return nil, false // the other way finds the words for it
	case repository.Directory == nil:
		return nil, true // the commit has no such directory
	default:
		return r.queried(repository.Directory.Entries, dir, true)
	}
}

// queried takes the files from an answer; what they hold goes to the cache, if it is what their ids say.
func (r *reader) queried(entries []queriedEntry, dir string, deeper bool) (found []entry, ok bool) {
	for _, e := range entries {
		if !safeName(e.Name) || strings.Contains(e.Name, "/") || !shaPattern.MatchString(e.OID) {
			return nil, false
		}
		full := path.Join(dir, e.Name)
		switch regular := e.Mode == 0o100644 || e.Mode == 0o100755; {
		case e.Type == "tree" && (!deeper || e.Object == nil):
			return nil, false
		case e.Type == "tree":
			below, ok := r.queried(e.Object.Entries, full, false)
			if !ok {
				return nil, false
			}
			found = append(found, below...)
		case e.Type == "blob" && regular && e.Object != nil:
			found = append(found, entry{path: full, sha: e.OID, size: e.Object.ByteSize})
			if text := e.Object.Text; text != nil && !e.Object.IsTruncated && blobID(len(e.OID), []byte(*text)) == e.OID {
				r.client.objects.put(r.repoKey("blob "+e.OID), []byte(*text))
			}
		}
		if len(found) > r.client.limits.Files {
			return nil, false
		}
	}
	return found, true
}

// listing is a directory's files as the cache keeps them.
type listing struct {
	Path string `json:"path"`
	SHA  string `json:"sha"`
	Size int64  `json:"size"`
}

// known returns the files of a directory that was read before.
func (r *reader) known(sha, dir string) ([]entry, bool) {
	raw, ok := r.client.objects.get(r.repoKey("files " + sha + " " + dir))
	var list []listing
	if !ok || json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	found := make([]entry, len(list))
	for i, l := range list {
		found[i] = entry{path: l.Path, sha: l.SHA, size: l.Size}
	}
	return found, true
}

// remember keeps the files of a directory, in the order of their paths.
func (r *reader) remember(sha, dir string, found []entry) {
	slices.SortFunc(found, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	list, total := make([]listing, len(found)), int64(0)
	for i, e := range found {
		list[i] = listing{Path: e.path, SHA: e.sha, Size: e.size}
		total += e.size
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return
	}
	r.client.objects.put(r.repoKey("files "+sha+" "+dir), raw)
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	r.client.queries.sizes[fmt.Sprintf("%d %s", r.repoID, dir)] = total
}

// files lists and reads a directory in the cheapest way there is.
func (r *reader) files(ctx context.Context, sha string, segments []string) ([]File, error) {
	dir := strings.Join(segments, "/")
	found, ok := r.known(sha, dir)
	if !ok {
		if found, ok = r.query(ctx, sha, dir); !ok {
			tree, err := r.find(ctx, sha, segments)
			if err != nil {
				return nil, err
			}
			if tree != "" {
				if found, err = r.walk(ctx, tree, dir); err != nil {
					return nil, err
				}
			}
		}
		r.remember(sha, dir, found)
	}
	if len(found) > r.client.limits.Files {
		return nil, tooManyFiles(dir)
	}
	return r.read(ctx, found)
}
