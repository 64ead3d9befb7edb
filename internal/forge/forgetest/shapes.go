package forgetest

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"time"
)

// The shapes follow GitHub's description of its REST API (version 2022-11-28) and its published webhook payloads,
// without the many link templates that nobody reads. Callers hold the server's lock.

// api returns the address of something in a repository. The caller need not hold the lock: it uses the id.
func (s *Server) api(r *Repo, rest string) string {
	return fmt.Sprintf("%s/repositories/%d/%s", s.url, r.id, rest)
}

// account is a user, bot or organization. Its id follows from its login.
func account(login, kind string) object {
	h := fnv.New32a()
	_, _ = h.Write([]byte(login))
	return object{
		"login": login, "id": int64(h.Sum32()), "type": kind, "site_admin": false,
		"url": "https://api.github.com/users/" + login, "html_url": "https://github.com/" + login,
		"avatar_url": "https://avatars.githubusercontent.com/u/" + strconv.FormatUint(uint64(h.Sum32()), 10), "gravatar_id": "",
	}
}

// organization is what payloads have about the owner of a repository.
func organization(login string) object {
	a := account(login, "Organization")
	return object{"login": login, "id": a["id"], "url": "https://api.github.com/orgs/" + login, "avatar_url": a["avatar_url"], "description": nil}
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func (r *Repo) json() object {
	return repository(r.server, r.id, r.owner, r.name, "Organization", r.created, object{
		"fork": false, "private": r.private, "archived": r.archived,
	})
}

func repository(s *Server, id int64, owner, name, ownerKind string, created time.Time, more object) object {
	full := owner + "/" + name
	o := object{
		"id": id, "node_id": fmt.Sprintf("R_%d", id), "name": name, "full_name": full, "owner": account(owner, ownerKind),
		"description": nil, "default_branch": "main", "disabled": false, "visibility": "private",
		"url": s.url + "/repos/" + full, "html_url": "https://github.com/" + full,
		"clone_url": "https://github.com/" + full + ".git", "created_at": stamp(created), "updated_at": stamp(created),
		"pushed_at": stamp(created), "has_issues": true, "language": nil, "license": nil, "size": 0,
		"forks_count": 0, "open_issues_count": 0, "stargazers_count": 0, "watchers_count": 0,
	}
	for key, value := range more {
		o[key] = value
	}
	return o
}

// json describes the pull request; whole adds what only the description of a single one has.
func (p *PR) json(whole bool) object {
	s, r := p.repo.server, p.repo
	full := r.owner + "/" + r.name
	state := "open"
	if !p.open {
		state = "closed"
	}
	var merge any
	if p.mergeSHA != "" {
		merge = p.mergeSHA
	}
	labels := []object{}
	for i, label := range p.labels {
		labels = append(labels, object{"id": i + 1, "name": label, "color": "ededed", "default": false, "description": ""})
	}
	o := object{
		"id": r.id*1000 + int64(p.number), "number": p.number, "state": state, "locked": false, "title": p.title, "body": p.body,
		"url": s.api(r, fmt.Sprintf("pulls/%d", p.number)), "html_url": fmt.Sprintf("https://github.com/%s/pull/%d", full, p.number),
		"issue_url": s.api(r, fmt.Sprintf("issues/%d", p.number)), "statuses_url": s.api(r, "statuses/"+p.headSHA),
		"user": account(p.author, "User"), "labels": labels, "milestone": nil, "assignee": nil, "assignees": []object{},
		"requested_reviewers": []object{}, "requested_teams": []object{}, "draft": p.draft, "auto_merge": nil,
		"created_at": stamp(p.created), "updated_at": stamp(p.updated), "closed_at": stamp(p.closed), "merged_at": nil,
		"merge_commit_sha": merge, "author_association": "CONTRIBUTOR", "active_lock_reason": nil,
		"head": p.headJSON(),
		"base": object{"label": r.owner + ":" + p.base, "ref": p.base, "sha": p.baseSHA, "user": account(r.owner, "Organization"), "repo": r.json()},
	}
	if p.merged {
		o["merged_at"] = stamp(p.closed)
	}
	if whole {
		o["merged"], o["mergeable"], o["mergeable_state"], o["merged_by"] = p.merged, nil, "unknown", nil
		comments := 0
		for _, c := range r.comments {
			if c.Number == p.number {
				comments++
			}
		}
		o["comments"], o["review_comments"], o["commits"], o["additions"], o["deletions"], o["changed_files"] = comments, 0, 1, 1, 0, 1
		o["maintainer_can_modify"] = false
	}
	return o
}

func (p *PR) headJSON() object {
	owner, kind := p.repo.owner, "Organization"
	var repo any = p.repo.json()
	if p.fork != "" {
		owner, kind = p.fork, "User"
		repo = repository(p.repo.server, p.forkID, p.fork, p.repo.name, kind, p.created, object{"fork": true, "private": false, "archived": false})
		if p.headGone {
			repo = nil
		}
	}
	return object{"label": owner + ":" + p.head, "ref": p.head, "sha": p.headSHA, "user": account(owner, kind), "repo": repo}
}

func (c *Comment) json(r *Repo) object {
	kind := "User"
	if c.bot {
		kind = "Bot"
	}
	return object{
		"id": c.ID, "body": c.Body, "user": account(c.Author, kind), "author_association": "NONE",
		"url":       r.server.api(r, fmt.Sprintf("issues/comments/%d", c.ID)),
		"issue_url": r.server.api(r, fmt.Sprintf("issues/%d", c.Number)),
		"html_url":  fmt.Sprintf("https://github.com/%s/%s/pull/%d#issuecomment-%d", r.owner, r.name, c.Number, c.ID), "created_at": stamp(c.CreatedAt), "updated_at": stamp(c.UpdatedAt),
	}
}

func (st Status) json(s *Server, r *Repo, sha string) object {
	return object{
		"id": st.ID, "state": st.State, "context": st.Context, "description": st.Description, "target_url": st.TargetURL,
		"url": s.api(r, "statuses/"+sha), "creator": account(st.Creator, "User"),
		"created_at": stamp(st.CreatedAt), "updated_at": stamp(st.CreatedAt),
	}
}
