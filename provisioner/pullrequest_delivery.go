package provisioner

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

// payload is what is read of deliveries besides what is stored with them. Everything in it is a hint, or something that is checked
// with the forge before anything is done by it.
type payload struct {
	Action string `json:"action"`
	Sender person `json:"sender"`
	Ref    string `json:"ref"`      // push: "refs/heads/main"; delete: "main"
	Type   string `json:"ref_type"` // delete: "branch"

	Deleted bool   `json:"deleted"` // push
	After   string `json:"after"`   // push
	Label   struct {
		Name string `json:"name"`
	} `json:"label"`
	PullRequest struct {
		UpdatedAt time.Time `json:"updated_at"`
		Head      struct {
			SHA string `json:"sha"`
		} `json:"head"`
	} `json:"pull_request"`
	Comment  comment `json:"comment"`
	CheckRun struct {
		HeadSHA    string `json:"head_sha"`
		ExternalID string `json:"external_id"`
	} `json:"check_run"`
	CheckSuite struct {
		HeadSHA string `json:"head_sha"`
	} `json:"check_suite"`
	RequestedAction struct {
		Identifier string `json:"identifier"`
	} `json:"requested_action"`
	MergeGroup struct {
		HeadSHA string `json:"head_sha"`
		HeadRef string `json:"head_ref"`
		BaseRef string `json:"base_ref"`
		BaseSHA string `json:"base_sha"`
	} `json:"merge_group"`
	Repositories        []listed `json:"repositories"`         // installation
	RepositoriesAdded   []listed `json:"repositories_added"`   // installation_repositories
	RepositoriesRemoved []listed `json:"repositories_removed"` // installation_repositories
	HookID              int64    `json:"hook_id"`              // ping
	Hook                struct {
		Events []string `json:"events"`
	} `json:"hook"` // ping
}

type person struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	Type  string `json:"type"` // "User", "Bot", "Organization"
}

type listed struct {
	ID       int64  `json:"id"`
	FullName string `json:"full_name"`
}

// done is what a delivery led to.
type done struct {
	ignored string // why nothing was done; "" if something was
	numbers []int  // pull requests of its repository to look at
}

func ignored(why string) (done, error) { return done{ignored: why}, nil }

func look(numbers ...int) (done, error) { return done{numbers: numbers}, nil }

// HandleDelivery looks at a stored delivery. What it says is a hint at what to read from the forge; a command is carried out once,
// however often it is delivered.
func (s *Service) HandleDelivery(ctx context.Context, id string) error {
	d, err := s.Store.Delivery(ctx, id)
	if err != nil || d.State != store.DeliveryReceived {
		return err
	}
	var body payload
	if err := json.Unmarshal(d.Payload, &body); err != nil { // of a shape that GitHub does not send
		s.Logger.WarnContext(ctx, "delivery cannot be read", "delivery", id, "event", d.Event, "error", err)
		return s.Store.FinishDelivery(ctx, id, store.DeliveryIgnored, "the payload has another shape than expected", 0, nil)
	}
	result, err := s.handle(ctx, d, &body)
	if err != nil {
		return err
	}
	state := store.DeliveryDone
	if result.ignored != "" {
		state = store.DeliveryIgnored
		s.Logger.InfoContext(ctx, "delivery ignored", "delivery", id, "event", d.Event, "repository", d.Repository, "reason", result.ignored)
	}
	return s.Store.FinishDelivery(ctx, id, state, result.ignored, d.RepositoryID, result.numbers)
}

// handle does what the event asks for.
func (s *Service) handle(ctx context.Context, d *store.Delivery, body *payload) (done, error) {
	if s.Forge == nil {
		return ignored("no forge is configured")
	}
	switch d.Event { // those that need not be about a project's repository
	case "ping":
		return s.handlePing(ctx, body)
	case "installation", "installation_repositories":
		return s.handleInstallation(ctx, d, body)
	}
	projects, err := s.projectsOf(ctx, d.RepositoryID)
	if d.Event == "repository" { // one that is gone is no project's any more
		return s.handleRepository(ctx, d)
	}
	if err != nil {
		return done{}, err
	}
	if len(projects) == 0 {
		return ignored("no project has this repository")
	}
	switch d.Event {
	case "pull_request":
		return s.handlePullRequest(ctx, d, body, projects)
	case "push":
		return s.handlePush(ctx, d, body)
	case "delete":
		return s.handleDelete(ctx, d, body)
	case "issue_comment":
		return s.handleComment(ctx, d, body, projects)
	case "check_run", "check_suite":
		return s.handleCheck(ctx, d, body)
	case "merge_group":
		return s.handleMergeGroup(ctx, d, body, projects)
	}
	return ignored("the event changes nothing for a preview")
}

func (s *Service) handlePing(ctx context.Context, body *payload) (done, error) {
	return done{}, s.Store.SetPing(ctx, s.Clock(), body.HookID, body.Hook.Events)
}

func (s *Service) handlePullRequest(ctx context.Context, d *store.Delivery, body *payload, projects []mayfly.Project) (done, error) {
	switch d.Action {
	case "reopened":
		for _, project := range projects { // a wish for a preview, also if nobody saw it closed
			key := store.PullRequestKey{Project: project.Name, RepositoryID: d.RepositoryID, Number: d.Number}
			if err := s.Store.Undismiss(ctx, key, body.PullRequest.UpdatedAt); err != nil {
				return done{}, err
			}
		}
	case "labeled":
		if strings.EqualFold(body.Label.Name, mayfly.LabelApprove) {
			if err := s.approveByLabel(ctx, d, body, projects); err != nil {
				return done{}, err
			}
		}
	case "opened", "synchronize", "closed", "edited", "ready_for_review", "converted_to_draft", "unlabeled":
	default:
		return ignored("the action changes nothing for a preview")
	}
	return look(d.Number)
}

// approveByLabel approves the commit that a fork had when somebody with write access set the label.
func (s *Service) approveByLabel(ctx context.Context, d *store.Delivery, body *payload, projects []mayfly.Project) error {
	if body.Sender.Type != "User" {
		return nil
	}
	may, err := s.Forge.MayWrite(ctx, d.RepositoryID, body.Sender.Login, body.Sender.ID)
	if err != nil || !may {
		return err
	}
	for _, project := range projects {
		key := store.PullRequestKey{Project: project.Name, RepositoryID: d.RepositoryID, Number: d.Number}
		known, err := s.Store.KnownPullRequest(ctx, key)
		if err != nil {
			return err
		}
		sha := body.PullRequest.Head.SHA
		if !couldBeSeen(known, sha, body.PullRequest.UpdatedAt) {
			s.Logger.WarnContext(ctx, "a label does not approve a commit that was pushed just before", "project", project.Name, "number", d.Number)
			continue
		}
		if err := s.Store.Approve(ctx, key, sha, "github:"+body.Sender.Login, s.Clock()); err != nil {
			return err
		}
	}
	return nil
}

// timeToLook is for how long a commit has to have been the head when it is approved without being named. A page in a browser shows what was
// pushed a little later, people answer to what they have read, and GitHub's clock, which counts whole seconds, is not quite ours.
const timeToLook = 10 * time.Second

// couldBeSeen reports whether somebody who wrote something at a time can have meant the commit as the head.
func couldBeSeen(known *store.KnownPullRequest, sha string, at time.Time) bool {
	return known.HeadSHA == sha && !known.HeadSeenAt.Add(timeToLook).After(at)
}

// handlePush looks at the pull requests whose base the branch is. Pushes to heads come as synchronize.
func (s *Service) handlePush(ctx context.Context, d *store.Delivery, body *payload) (done, error) {
	branch, ok := strings.CutPrefix(body.Ref, "refs/heads/")
	if !ok || body.Deleted {
		return ignored("it is not a push to a branch")
	}
	open, err := s.Forge.OpenPullRequests(ctx, d.RepositoryID)
	if err != nil {
		return done{}, err
	}
	var numbers []int
	for _, pr := range open {
		if pr.BaseRef == branch {
			numbers = append(numbers, pr.Number)
		}
	}
	if len(numbers) == 0 {
		return ignored("no open pull request has this branch as its base")
	}
	if _, err := s.branchTip(ctx, d.RepositoryID, branch); err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		return done{}, err
	}
	return look(numbers[:min(len(numbers), maxFanOut)]...) // the periodic reconcile comes to the others
}

// maxFanOut bounds how many pull requests one push makes to be looked at.
const maxFanOut = 200

// handleDelete looks at the pull requests that had a branch that is gone.
func (s *Service) handleDelete(ctx context.Context, d *store.Delivery, body *payload) (done, error) {
	if body.Type != "branch" {
		return ignored("what was deleted is not a branch")
	}
	if err := s.Store.ForgetBranch(ctx, d.RepositoryID, body.Ref); err != nil {
		return done{}, err
	}
	previews, err := s.Store.Previews(ctx, store.Filter{RepositoryID: d.RepositoryID})
	if err != nil {
		return done{}, err
	}
	var numbers []int
	for _, p := range previews {
		if p.PR != nil && (p.PR.HeadRef == body.Ref || p.PR.BaseRef == body.Ref) {
			numbers = append(numbers, p.PR.Number)
		}
	}
	if len(numbers) == 0 {
		return ignored("no preview's pull request has this branch")
	}
	return look(numbers...)
}

// handleRepository notes what became of a repository. It is the id that counts: a new name or owner changes nothing else.
func (s *Service) handleRepository(ctx context.Context, d *store.Delivery) (done, error) {
	if !s.knows(ctx, d.RepositoryID) {
		return ignored("no project has this repository")
	}
	s.forgetRepository(d.RepositoryID)
	switch d.Action {
	case "deleted":
		return s.lose(ctx, d.RepositoryID, d.Repository, store.RepositoryDeleted)
	case "renamed", "transferred", "archived", "unarchived", "edited", "privatized", "publicized":
		_, _, err := s.checkRepository(ctx, d.RepositoryID)
		if err != nil {
			return done{}, err
		}
		return done{}, s.Store.RequestReconcile(ctx)
	}
	return ignored("the action changes nothing for a preview")
}

// knows reports whether a project has the repository, or had when it could still be asked for.
func (s *Service) knows(ctx context.Context, id int64) bool {
	previews, err := s.Store.Previews(ctx, store.Filter{RepositoryID: id})
	if err == nil && len(previews) > 0 {
		return true
	}
	for _, project := range s.Projects.Projects() {
		if project.Repository == "" {
			continue
		}
		if pinned, err := s.Store.PinnedRepository(ctx, project.Repository); err == nil && (pinned == id || project.RepositoryID == id) {
			return true
		}
	}
	return false
}

// lose notes that the forge said a repository is gone. Whether that is so, it is asked before anything is removed.
func (s *Service) lose(ctx context.Context, id int64, fullName string, state store.RepositoryState) (done, error) {
	changed, err := s.Store.SetRepository(ctx, id, fullName, state, s.Clock())
	if changed {
		s.Logger.WarnContext(ctx, "repository is gone; its previews are kept for now", "repository", fullName, "id", id, "state", state)
	}
	return done{}, err
}

// handleInstallation notes which repositories the App got, lost, or may not see while it is suspended.
func (s *Service) handleInstallation(ctx context.Context, d *store.Delivery, body *payload) (done, error) {
	state := map[string]store.RepositoryState{
		"deleted": store.RepositoryRemoved, "suspend": store.RepositorySuspended, "removed": store.RepositoryRemoved,
	}[d.Action]
	lost := body.RepositoriesRemoved
	if d.Event == "installation" {
		lost = body.Repositories
	}
	touched := 0
	for _, r := range lost {
		if state == "" || !s.knows(ctx, r.ID) {
			continue
		}
		touched++
		if _, err := s.lose(ctx, r.ID, r.FullName, state); err != nil {
			return done{}, err
		}
	}
	s.forgetRepository(0)
	switch d.Action {
	case "created", "unsuspend", "added", "new_permissions_accepted":
		return done{}, s.Store.RequestReconcile(ctx)
	}
	if touched == 0 {
		return ignored("no project has a repository of this installation")
	}
	return done{}, nil
}
