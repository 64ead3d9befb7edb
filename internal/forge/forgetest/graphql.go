package forgetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// graphQL answers the queries that lead to files. A query that GitHub's published schema does not allow is a violation.
func (s *Server) graphQL(w http.ResponseWriter, r *http.Request, who caller, _ *Repo) {
	var body struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	known, err := published()
	if err != nil {
		s.violated(r, "setup", err)
		fail(w, http.StatusInternalServerError, "Server Error")
		return
	}
	query, problems := gqlparser.LoadQueryWithRules(known.graphQL, body.Query, rules.NewDefaultRules())
	if len(problems) > 0 || len(query.Operations) != 1 {
		s.violated(r, "query", errors.New(problems.Error()))
		answer(w, http.StatusOK, object{"errors": []object{{"message": "Parse error"}}})
		return
	}
	data, failures := object{}, []object{}
	for _, selection := range query.Operations[0].SelectionSet {
		field, ok := selection.(*ast.Field)
		if !ok || field.Name != "node" {
			continue
		}
		id, _ := field.ArgumentMap(body.Variables)["id"].(string)
		repo := s.byNode(id, who)
		if repo == nil {
			data[field.Alias] = nil
			failures = append(failures, object{"type": "NOT_FOUND", "path": []string{field.Alias}, "message": "Could not resolve to a node with the global id of '" + id + "'."})
			continue
		}
		data[field.Alias] = repo.selected(r.Context(), field.SelectionSet, body.Variables, repo.objectOf(""))
	}
	out := object{"data": data}
	if len(failures) > 0 {
		out["errors"] = failures
	}
	answer(w, http.StatusOK, out)
}

// byNode finds a repository by its node id.
func (s *Server) byNode(id string, who caller) *Repo {
	digits, ok := strings.CutPrefix(id, "R_")
	n, err := strconv.ParseInt(digits, 10, 64)
	s.mu.Lock()
	repo := s.repositories[n]
	s.mu.Unlock()
	if !ok || err != nil || repo == nil || !repo.visible(who) {
		return nil
	}
	return repo
}

// gitObject is a thing that a query selects fields of: the repository itself if kind is "".
type gitObject struct {
	kind string // "Blob", "Tree", "Commit", "entry", or ""
	sha  string
	line treeLine
}

func (r *Repo) objectOf(expression string) *gitObject {
	return &gitObject{sha: expression}
}

// lookup finds an object by its id or by "<commit>:<path>". nil if there is none.
func (r *Repo) lookup(ctx context.Context, expression string) *gitObject {
	commit, _, _ := strings.Cut(expression, ":")
	if !sha.MatchString(commit) {
		return nil
	}
	id, err := r.git.line(ctx, "rev-parse", "--verify", "--quiet", expression)
	if err != nil {
		return nil
	}
	kind, err := r.git.line(ctx, "cat-file", "-t", id)
	if err != nil {
		return nil
	}
	return &gitObject{kind: map[string]string{"blob": "Blob", "tree": "Tree", "commit": "Commit"}[kind], sha: id}
}

// selected returns what the selection asks of an object.
func (r *Repo) selected(ctx context.Context, set ast.SelectionSet, variables map[string]any, o *gitObject) any {
	if o == nil {
		return nil
	}
	out := object{}
	for _, selection := range set {
		switch selection := selection.(type) {
		case *ast.InlineFragment:
			r.merge(ctx, out, selection.TypeCondition, selection.SelectionSet, variables, o)
		case *ast.FragmentSpread:
			r.merge(ctx, out, selection.Definition.TypeCondition, selection.Definition.SelectionSet, variables, o)
		case *ast.Field:
			out[selection.Alias] = r.field(ctx, selection, variables, o)
		}
	}
	return out
}

// merge adds what a fragment selects, if it is about objects of this kind.
func (r *Repo) merge(ctx context.Context, out object, condition string, set ast.SelectionSet, variables map[string]any, o *gitObject) {
	kind := map[string]string{"": "Repository", "entry": "TreeEntry"}[o.kind]
	if kind == "" {
		kind = o.kind
	}
	if condition != kind && condition != "GitObject" {
		return
	}
	if more, ok := r.selected(ctx, set, variables, o).(object); ok {
		maps.Copy(out, more)
	}
}

func (r *Repo) field(ctx context.Context, f *ast.Field, variables map[string]any, o *gitObject) any {
	switch f.Name {
	case "__typename":
		if o.kind == "" {
			return "Repository"
		}
		return o.kind
	case "id":
		return fmt.Sprintf("R_%d", r.id)
	case "oid":
		return o.sha
	case "object":
		if o.kind == "entry" {
			return r.selected(ctx, f.SelectionSet, variables, r.lookup(ctx, o.sha))
		}
		arguments := f.ArgumentMap(variables)
		expression, _ := arguments["expression"].(string)
		if oid, ok := arguments["oid"].(string); ok {
			expression = oid
		}
		return r.selected(ctx, f.SelectionSet, variables, r.lookup(ctx, expression))
	case "entries":
		_, lines, err := r.git.tree(ctx, o.sha, false)
		if err != nil {
			return nil
		}
		entries := []any{}
		for _, line := range lines {
			entries = append(entries, r.selected(ctx, f.SelectionSet, variables, &gitObject{kind: "entry", sha: line.sha, line: line}))
		}
		return entries
	case "name":
		return o.line.path
	case "type":
		return o.line.kind
	case "mode":
		mode, _ := strconv.ParseInt(o.line.mode, 8, 32)
		return mode
	case "byteSize", "isBinary", "isTruncated", "text":
		return r.blobField(ctx, f.Name, o)
	}
	return nil
}

// maxGraphQLText is where GitHub cuts the text of a blob.
const maxGraphQLText = 512_000

func (r *Repo) blobField(ctx context.Context, name string, o *gitObject) any {
	content, err := r.git.blob(ctx, o.sha)
	if err != nil {
		return nil
	}
	binary := strings.ContainsRune(content, 0) || !utf8.ValidString(content)
	switch name {
	case "byteSize":
		return len(content)
	case "isBinary":
		return binary
	case "isTruncated":
		return len(content) > maxGraphQLText
	}
	if binary {
		return nil
	}
	return content[:min(len(content), maxGraphQLText)]
}
