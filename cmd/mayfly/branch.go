package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os/exec"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// branchLabel is the label of sandboxes that belong to a git branch.
const branchLabel = "branch"

func newBranchCommand(s *shell) *cobra.Command {
	var r client.CreatePreview
	var w waiting
	var dir string
	cmd := &cobra.Command{
		Use: "branch", Short: "Make a sandbox named after the current git branch, or find the one that is there", Args: cobra.NoArgs,
		Long: "Make a sandbox named after the current git branch. If it is there already, nothing is made: the command can be in a script that\n" +
			"runs at every checkout.",
		Example: "  mayfly branch --wait\n  export DATABASE_URL=\"$(mayfly branch --wait -o url)\"",
	}
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		branch, err := currentBranch(ctx, dir)
		if err != nil {
			return nil, err
		}
		if r.Project, err = s.project(ctx, c, r.Project); err != nil {
			return nil, err
		}
		r.Labels = map[string]string{branchLabel: truncate(branch, maxLabelValue)}
		for _, r.Name = range branchSlugs(branch, mayfly.MaxNameLength-len(r.Project)-1) {
			full := r.Project + "-" + r.Name
			p, err := c.Preview(ctx, full)
			if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
				a, createErr := s.create(ctx, c, r, "", &w)
				if mayfly.ErrorCode(createErr) != mayfly.CodeConflict {
					return a, createErr
				}
				if p, err = c.Preview(ctx, full); mayfly.ErrorCode(err) == mayfly.CodeNotFound {
					return nil, createErr // it is something else than another command that was faster
				}
			}
			if err != nil {
				return nil, err
			}
			if p.Labels[branchLabel] != r.Labels[branchLabel] {
				continue // it has the name, and is for something else
			}
			s.note("%s is there already", full)
			if w.wait {
				if p, err = w.followReady(ctx, c, p, s.progress()); err != nil {
					return nil, err
				}
			}
			return previewAnswer(c, p), nil
		}
		return nil, mayfly.Errorf(mayfly.CodeConflict, "the names for the branch %s are taken", branch).WithHint("give another: mayfly create NAME --project %s", r.Project)
	})
	s.addProject(cmd, &r.Project)
	cmd.Flags().StringVar(&r.TTL, "ttl", "", "how long it lives, such as 12h or 7d")
	cmd.Flags().StringVar(&dir, "dir", ".", "the working directory")
	w.add(cmd, defaultTimeout)
	return cmd
}

// maxLabelValue is how long a label's value may be, in bytes.
const maxLabelValue = 255

func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}

// currentBranch asks git.
func currentBranch(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "symbolic-ref", "--quiet", "--short", "HEAD").Output()
	if branch := strings.TrimSpace(string(out)); err == nil && branch != "" {
		return branch, nil
	}
	if _, missing := exec.LookPath("git"); missing != nil {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "git is not installed").WithHint("mayfly create NAME makes a sandbox without it")
	}
	return "", mayfly.Errorf(mayfly.CodeInvalid, "there is no current git branch here").WithHint("git switch BRANCH, or give the name: mayfly create NAME")
}

// branchSlugs are the parts of a sandbox's name for a branch, of at most that many bytes: one to read, where that is possible, and one
// that no other branch has.
func branchSlugs(branch string, room int) []string {
	digest := sha256.Sum256([]byte(branch))
	suffix := hex.EncodeToString(digest[:4])
	slug := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(branch), "-"), "-")
	var slugs []string
	if slug != "" && len(slug) <= room && !regexp.MustCompile(`^pr-[0-9]+$`).MatchString(slug) {
		slugs = append(slugs, slug)
	}
	short := strings.Trim(slug[:min(len(slug), max(0, room-len(suffix)-1))], "-")
	if short == "" {
		return append(slugs, "b-"+suffix)
	}
	return append(slugs, short+"-"+suffix)
}
