package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

// comment is what is read of a comment.
type comment struct {
	ID        int64     `json:"id"`
	Body      string    `json:"body"`
	User      person    `json:"user"`
	CreatedAt time.Time `json:"created_at"`
	// Via is set if an app wrote it in somebody's name.
	Via *json.RawMessage `json:"performed_via_github_app"`
}

// command is what a comment asks for: "/mayfly <verb> [arguments] [project]".
type command struct {
	verb      string
	arguments []string
	by        string
	at        time.Time
	comment   int64
}

// text is the command as it was understood, for people.
func (c command) text() string {
	return strings.TrimSpace("/mayfly " + strings.Join(append([]string{c.verb}, c.arguments...), " "))
}

const (
	// commandPrefix begins a comment that is a command.
	commandPrefix = "/mayfly"
	// maxCommand bounds a command; a longer first line is none.
	maxCommand = 200
)

// parseCommand reads the first line of a comment that is not empty. ok is false if it is no command.
func parseCommand(body string) (verb string, arguments []string, ok bool) {
	line, _, _ := strings.Cut(strings.TrimLeft(body, " \t\r\n"), "\n")
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0] != commandPrefix || len(line) > maxCommand {
		return "", nil, false
	}
	plain := func(r rune) bool {
		return r > ' ' && r < 0x7f && r != '`' && r != '<' && r != '>' && r != '|' && r != '[' && r != ']' && r != '@' && r != '!' && r != '*' && r != '_' && r != '\\' && r != '&'
	}
	for _, field := range fields[1:] {
		if strings.ContainsFunc(field, func(r rune) bool { return !plain(r) }) {
			return "help", nil, true // nothing that we have a meaning for, and nothing to repeat
		}
	}
	if len(fields) == 1 {
		return "help", nil, true
	}
	return strings.ToLower(fields[1]), fields[2:], true
}

// answer is what a command led to.
type answer struct {
	reaction forge.Reaction
	text     string
	projects []mayfly.Project // in whose comments it is told
	look     bool             // the pull request is to be looked at
}

func refused(projects []mayfly.Project, format string, args ...any) (answer, error) {
	return answer{reaction: forge.ReactionRefused, text: fmt.Sprintf(format, args...), projects: projects}, nil
}

func unclear(projects []mayfly.Project, format string, args ...any) (answer, error) {
	return answer{reaction: forge.ReactionUnclear, text: fmt.Sprintf(format, args...), projects: projects}, nil
}

// handleComment carries out a command of somebody with write access. Everybody else is ignored without a word: not even a reaction
// tells a stranger that somebody listens.
func (s *Service) handleComment(ctx context.Context, d *store.Delivery, body *payload, projects []mayfly.Project) (done, error) {
	verb, arguments, ok := parseCommand(body.Comment.Body)
	switch {
	case d.Action != "created" || d.Number == 0 || !ok:
		return ignored("it is not a new comment with a command on a pull request")
	case body.Comment.User.Type != "User" || body.Comment.Via != nil:
		return ignored("the author is not a person")
	}
	login := body.Comment.User.Login
	if self, err := s.Forge.Self(ctx); err != nil || self == login {
		if err != nil {
			return done{}, err
		}
		return ignored("the comment is our own")
	}
	may, err := s.Forge.MayWrite(ctx, d.RepositoryID, login, body.Comment.User.ID)
	if err != nil {
		return done{}, err
	}
	if !may {
		return ignored("the author may not write to the repository")
	}
	c := command{verb: verb, arguments: arguments, by: login, at: body.Comment.CreatedAt, comment: body.Comment.ID}
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: "github:" + login})
	return s.carryOut(ctx, d, c, projects)
}

// carryOut executes a command and answers it. Whatever was done before this process died is not done again.
func (s *Service) carryOut(ctx context.Context, d *store.Delivery, c command, projects []mayfly.Project) (done, error) {
	previews, err := s.previewsOf(ctx, d, projects)
	if err != nil {
		return done{}, err
	}
	generations := map[string]int64{}
	for _, p := range previews {
		generations[p.ID] = p.Generation
	}
	if generations, _, err = s.remember(ctx, d.RepositoryID, c.comment, generations); errors.Is(err, errCarriedOut) {
		return ignored("the command was carried out before")
	}
	if err != nil {
		return done{}, err
	}
	a, err := s.execute(ctx, d, c, projects, previews, generations)
	var coded *mayfly.Error
	if errors.As(err, &coded) && tellable(coded.Code) {
		a, err = refused(projects, "%s", coded.Message)
	}
	if err != nil {
		return done{}, err
	}
	s.Logger.InfoContext(ctx, "command", "command", c.text(), "by", c.by, "repository", d.Repository, "number", d.Number, "reaction", a.reaction, "answer", a.text)
	return s.reply(ctx, d, c, a)
}

// tellable reports whether an error with this code is an answer, rather than a reason to try again.
func tellable(code mayfly.Code) bool {
	switch code {
	case mayfly.CodeInternal, mayfly.CodeStateUnavailable, mayfly.CodeForgeUnavailable, mayfly.CodeEngineUnavailable:
		return false
	}
	return true
}

// reply records the answer, so that the comment shows it, and gives the command its reaction.
func (s *Service) reply(ctx context.Context, d *store.Delivery, c command, a answer) (done, error) {
	failed := a.reaction == forge.ReactionRefused || a.reaction == forge.ReactionUnclear
	for _, project := range a.projects {
		key := store.PullRequestKey{Project: project.Name, RepositoryID: d.RepositoryID, Number: d.Number}
		record := store.Command{CommentID: c.comment, By: c.by, Text: c.text(), Answer: a.text, Failed: failed, At: s.Clock()}
		if err := s.Store.SetLastCommand(ctx, key, record); err != nil {
			return done{}, err
		}
	}
	if err := s.Forge.React(ctx, d.RepositoryID, c.comment, a.reaction); err != nil {
		if mayfly.ErrorCode(err) != mayfly.CodeForgeUnavailable {
			return done{}, err
		}
		var not *forge.Refused
		if !errors.As(err, &not) { // without the permission the answer in the comment has to do
			return done{}, err
		}
		s.Logger.WarnContext(ctx, "cannot react to a command", "repository", d.Repository, "error", err)
	}
	if err := s.Store.FinishCommand(ctx, d.RepositoryID, c.comment); err != nil {
		return done{}, err
	}
	for _, project := range a.projects { // the comment shows the answer, also that of a preview that is gone
		id, err := s.Store.LastPreview(ctx, store.PullRequestKey{Project: project.Name, RepositoryID: d.RepositoryID, Number: d.Number})
		if err != nil {
			return done{}, err
		}
		if id == "" {
			a.look = true // there is an outcome to be told instead
			continue
		}
		if err := s.Store.RequestPublish(ctx, id); err != nil {
			return done{}, err
		}
	}
	if a.look {
		return look(d.Number)
	}
	return done{}, nil
}

// previewsOf returns the live previews of the delivery's pull request, by project.
func (s *Service) previewsOf(ctx context.Context, d *store.Delivery, projects []mayfly.Project) (map[string]*mayfly.Preview, error) {
	previews := map[string]*mayfly.Preview{}
	for _, project := range projects {
		p, err := s.Store.PreviewByPullRequest(ctx, project.Name, d.RepositoryID, d.Number)
		if mayfly.ErrorCode(err) == mayfly.CodeNotFound || (err == nil && p.WantDeleted) {
			continue
		}
		if err != nil {
			return nil, err
		}
		previews[project.Name] = p
	}
	return previews, nil
}

// errCarriedOut means that a command was carried out to its end before.
var errCarriedOut = errors.New("the command was carried out before")

// commandOfDelivery makes a command's number of the id of a delivery, for what is no comment. It is negative: comments' are not.
func commandOfDelivery(delivery string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(delivery))
	return -int64(h.Sum64() >> 1) // the highest bit is shifted out
}

// remember notes the generations that previews have when a command is begun, and returns those of the first time.
func (s *Service) remember(ctx context.Context, repositoryID, commandID int64, generations map[string]int64) (first map[string]int64, fresh bool, err error) {
	encoded, err := json.Marshal(generations)
	if err != nil {
		return nil, false, fmt.Errorf("encode generations: %w", err)
	}
	raw, fresh, finished, err := s.Store.BeginCommand(ctx, repositoryID, commandID, encoded)
	if err != nil {
		return nil, false, err
	}
	if finished {
		return nil, false, errCarriedOut
	}
	if err := json.Unmarshal(raw, &first); err != nil {
		return nil, false, fmt.Errorf("decode generations: %w", err)
	}
	return first, fresh, nil
}

const helpText = "/mayfly reset (from the newest template, with a new password), rebuild (from the same template), extend 2d, keep, destroy, " +
	"approve (of a fork's commit), help. With several projects, name one at the end: /mayfly reset shop"

// execute does what a command says.
func (s *Service) execute(ctx context.Context, d *store.Delivery, c command, projects []mayfly.Project, previews map[string]*mayfly.Preview, began map[string]int64) (answer, error) {
	chosen, arguments, named := chooseProjects(projects, c.arguments)
	switch c.verb {
	case "help":
		return answer{reaction: forge.ReactionDone, text: helpText, projects: projects}, nil
	case "keep":
		return s.commandKeep(ctx, d, chosen, arguments)
	case "approve":
		return s.commandApprove(ctx, d, c, chosen, arguments)
	case "reset", "rebuild", "extend", "destroy":
	default:
		return unclear(projects, "There is no such command. There are: %s", helpText)
	}
	if len(chosen) > 1 { // those that have a preview are meant, if that is one
		chosen = slices.DeleteFunc(slices.Clone(chosen), func(p mayfly.Project) bool { return previews[p.Name] == nil })
	}
	if len(chosen) > 1 && !named {
		return unclear(projects, "Say which project is meant: %s", strings.Join(namesOf(chosen), ", "))
	}
	if len(chosen) == 0 {
		chosen = projects[:1]
	}
	project := chosen[0]
	return s.commandPreview(ctx, d, c, project, previews[project.Name], arguments, began)
}

func namesOf(projects []mayfly.Project) []string {
	names := make([]string, len(projects))
	for i, p := range projects {
		names[i] = p.Name
	}
	return names
}

// chooseProjects takes the name of a project from the end of the arguments. Without one, all are chosen.
func chooseProjects(projects []mayfly.Project, arguments []string) (chosen []mayfly.Project, rest []string, named bool) {
	if n := len(arguments); n > 0 {
		for _, project := range projects {
			if project.Name == arguments[n-1] {
				return []mayfly.Project{project}, arguments[:n-1], true
			}
		}
	}
	return projects, arguments, false
}

// commandPreview executes the commands that are for one preview, nil if there is none.
func (s *Service) commandPreview(ctx context.Context, d *store.Delivery, c command, project mayfly.Project, p *mayfly.Preview, arguments []string, began map[string]int64) (answer, error) {
	projects := []mayfly.Project{project}
	taken := answer{reaction: forge.ReactionTaken, projects: projects}
	wanted := 0
	if c.verb == "extend" {
		wanted = 1
	}
	if len(arguments) != wanted {
		return unclear(projects, "That is not how the command is written. There are: %s", helpText)
	}
	if p == nil && c.verb == "rebuild" {
		key := store.PullRequestKey{Project: project.Name, RepositoryID: d.RepositoryID, Number: d.Number}
		taken.look, taken.text = true, "A preview is being made, if the pull request gets one."
		return taken, s.Store.Undismiss(ctx, key, s.Clock())
	}
	if p == nil {
		if c.verb == "destroy" {
			return answer{reaction: forge.ReactionDone, text: "There is no preview.", projects: projects}, nil
		}
		return refused(projects, "There is no preview. /mayfly rebuild makes one.")
	}
	if p.ClosedAt != nil && c.verb != "destroy" {
		return refused(projects, "The preview sleeps because its pull request gets none now. It comes back when the pull request is opened again.")
	}
	// A preview that was made after the command, or that has another generation, is what the command led to at the first time.
	before, there := began[p.ID]
	again := !there || p.Generation != before
	var err error
	switch c.verb {
	case "reset":
		if taken.text = "The preview is being made anew from the newest template, with a new password."; !again {
			_, err = s.Reset(ctx, p.Name)
		}
	case "rebuild":
		if taken.text = "The preview is being made anew from its template."; !again {
			err = s.remake(ctx, p)
		}
	case "destroy":
		taken.text = "The preview is being removed. The next push, or /mayfly rebuild, makes another."
		_, err = s.Delete(ctx, p.Name)
	case "extend":
		return s.commandExtend(ctx, project, p, arguments[0])
	}
	return taken, err
}

func (s *Service) commandExtend(ctx context.Context, project mayfly.Project, p *mayfly.Preview, text string) (answer, error) {
	projects := []mayfly.Project{project}
	d, err := mayfly.ParseDuration(text)
	if err != nil || d <= 0 {
		return unclear(projects, "A time is written such as 2d or 12h.")
	}
	if p.ExpiresAt == nil || p.Keep {
		return answer{reaction: forge.ReactionDone, text: "The preview has no end that could be extended: it stays while the pull request is open.", projects: projects}, nil
	}
	changed, err := s.Change(ctx, p.Name, Change{TTL: d})
	if err != nil {
		return answer{}, err
	}
	text = "The preview stays until " + changed.ExpiresAt.UTC().Format("2006-01-02 15:04 UTC") + "."
	return answer{reaction: forge.ReactionDone, text: text, projects: projects}, nil
}

func (s *Service) commandKeep(ctx context.Context, d *store.Delivery, chosen []mayfly.Project, arguments []string) (answer, error) {
	if len(arguments) != 0 {
		return unclear(chosen, "That is not how the command is written. There are: %s", helpText)
	}
	for _, project := range chosen {
		key := store.PullRequestKey{Project: project.Name, RepositoryID: d.RepositoryID, Number: d.Number}
		if err := s.Store.KeepPullRequest(ctx, key); err != nil {
			return answer{}, err
		}
	}
	return answer{reaction: forge.ReactionDone, text: "The preview stays while the pull request is open.", projects: chosen, look: true}, nil
}

// commandApprove approves the commit of a fork that somebody could see when they wrote the command, or the one that they name. The next
// push voids it.
func (s *Service) commandApprove(ctx context.Context, d *store.Delivery, c command, chosen []mayfly.Project, arguments []string) (answer, error) {
	pr, err := s.Forge.PullRequest(ctx, d.RepositoryID, d.Number)
	if err != nil {
		return answer{}, err
	}
	if !pr.Fork {
		return refused(chosen, "Only pull requests from forks need an approval.")
	}
	if len(arguments) > 1 {
		return unclear(chosen, "That is not how the command is written: /mayfly approve, or /mayfly approve <commit>")
	}
	approved := 0
	for _, project := range chosen {
		if project.Previews.PullRequests.Forks != mayfly.ForksApprove {
			continue
		}
		known, err := s.Store.KnownPullRequest(ctx, keyOf(project, pr))
		if err != nil {
			return answer{}, err
		}
		if len(arguments) == 1 {
			if short := strings.ToLower(arguments[0]); len(short) < 7 || !strings.HasPrefix(pr.HeadSHA, short) {
				return refused(chosen, "That is not the newest commit of the pull request.")
			}
		} else if !couldBeSeen(known, pr.HeadSHA, c.at) {
			return refused(chosen, "Another commit was pushed just before. Look at it, and name it: /mayfly approve %.12s", pr.HeadSHA)
		}
		if err := s.Store.Approve(ctx, keyOf(project, pr), pr.HeadSHA, "github:"+c.by, s.Clock()); err != nil {
			return answer{}, err
		}
		approved++
	}
	if approved == 0 {
		return refused(chosen, "The server's configuration does not let pull requests of forks be approved.")
	}
	text := fmt.Sprintf("Commit %.12s is approved. Another push needs another approval.", pr.HeadSHA)
	return answer{reaction: forge.ReactionTaken, text: text, projects: chosen, look: true}, nil
}
