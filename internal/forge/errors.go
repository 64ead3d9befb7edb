package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// RateLimited is in the chain of an error when GitHub takes no more requests for now. A job that gets it should sleep
// until Until instead of counting an attempt. The *mayfly.Error around it has CodeForgeUnavailable.
type RateLimited struct { //nolint:errname // it says what happened; RateLimitedError would say it twice
	Until time.Time
}

// Error implements error.
func (e *RateLimited) Error() string {
	return "rate limit of GitHub reached until " + e.Until.UTC().Format(time.RFC3339)
}

// RetryAfter says how long to sleep. The job queue asks every error for it. It adds some time at random: all jobs wait for the same
// moment, and would reach the next limit together.
func (e *RateLimited) RetryAfter() time.Duration {
	const spread = 5 * time.Second
	return time.Until(e.Until) + rand.N(spread) //nolint:gosec // jitter, not a secret
}

// Refused is in the chain of an error when GitHub does not take Mayfly's credentials (401) or they do not allow the
// request (403). Trying again helps only after somebody changed something. The *mayfly.Error around it has
// CodeForgeUnavailable.
type Refused struct { //nolint:errname // as RateLimited
	Status int
}

// Error implements error.
func (e *Refused) Error() string { return fmt.Sprintf("refused by GitHub with status %d", e.Status) }

func rateLimited(until time.Time) error {
	return mayfly.Errorf(mayfly.CodeForgeUnavailable, "%w", &RateLimited{Until: until}).
		WithHint("nothing to do: Mayfly continues by itself after that")
}

// unreachable is the error of a request that got no answer. The caller's own context decides first: a job that was
// cancelled must not look like an outage.
func unreachable(ctx context.Context, in call, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", in.method, in.path, ctx.Err())
	}
	return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub cannot be reached: %w", err).
		WithHint("check the network between Mayfly and GitHub, and https://www.githubstatus.com")
}

// notFound returns an error with CodeNotFound and the cause err, whose text is for logs and not part of the message.
func notFound(err error, format string, args ...any) *mayfly.Error {
	e := mayfly.Errorf(mayfly.CodeNotFound, format, args...)
	e.Err = err
	return e
}

// errNotFound marks a 404 or 410; callers say what was not found.
var errNotFound = errors.New("not found")

// errEmptyRepository marks GitHub's 409 for git data of a repository without any commit.
var errEmptyRepository = errors.New("the repository is empty")

// errUnprocessable marks a 422.
var errUnprocessable = errors.New("not accepted")

// refusal turns an answer that is not 2xx into an error. GitHub's own message is part of it, cut to a line.
func refusal(in call, reply *http.Response) error {
	message := githubMessage(reply)
	where := fmt.Sprintf("%s %s", in.method, in.path)
	switch status := reply.StatusCode; {
	case status == http.StatusNotFound || status == http.StatusGone:
		return fmt.Errorf("%s: %w: %s", where, errNotFound, message)
	case status == http.StatusConflict:
		return fmt.Errorf("%s: %w: %s", where, errEmptyRepository, message)
	case status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%s: %w: %s", where, errUnprocessable, message)
	case status == http.StatusUnauthorized:
		return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub does not accept Mayfly's credentials (%s): %s: %w", where, message, &Refused{status}).
			WithHint("check that the token has not expired, or that the App's id and private key belong together and the host's clock is right")
	case status == http.StatusForbidden:
		return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub does not allow this (%s): %s: %w", where, message, &Refused{status}).
			WithHint("%s", permissionHint(reply.Header))
	case status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests:
		return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub answered %d to %s: %s", status, where, message).
			WithHint("nothing to do: Mayfly tries again; see also https://www.githubstatus.com")
	default:
		return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub answered %d to %s: %s", status, where, message)
	}
}

// permissionHint names the permission that was missing: GitHub tells it in a header, for fine-grained tokens and Apps.
func permissionHint(header http.Header) string {
	if accepted := header.Get("X-Accepted-GitHub-Permissions"); accepted != "" {
		return "give the App or token the permission " + clip(accepted, 200) + " and accept the change for the installation"
	}
	return "give the App or token the permissions listed in docs/github.md, for this repository"
}

// githubMessage returns what GitHub's error body says, in one line.
func githubMessage(reply *http.Response) string {
	var e *github.ErrorResponse
	if errors.As(github.CheckResponse(reply), &e) && e.Message != "" {
		parts := []string{e.Message}
		for _, detail := range e.Errors {
			if detail.Message != "" {
				parts = append(parts, detail.Message)
			} else if detail.Field != "" {
				parts = append(parts, detail.Field+" "+detail.Code)
			}
		}
		return clip(oneLine(strings.Join(parts, "; ")), 300)
	}
	return http.StatusText(reply.StatusCode)
}

// secondaryWait is how long to wait for a secondary rate limit that does not say ("at least one minute": GitHub docs,
// "Rate limits for the REST API").
const secondaryWait = time.Minute

// maxWait bounds what a header may ask for: primary limits reset every hour.
const maxWait = 2 * time.Hour

// rateLimit reports whether reply is a refusal because of a rate limit, and until when it lasts.
func rateLimit(reply *http.Response, body []byte, now time.Time) (time.Time, bool) {
	if reply.StatusCode != http.StatusForbidden && reply.StatusCode != http.StatusTooManyRequests {
		return time.Time{}, false
	}
	var until time.Time
	switch reset, seconds := headerNumber(reply, "X-RateLimit-Reset"), headerNumber(reply, "Retry-After"); {
	case seconds > 0:
		until = now.Add(time.Duration(min(seconds, int64(maxWait/time.Second))) * time.Second)
	case reply.Header.Get("X-RateLimit-Remaining") == "0" && reset > 0:
		until = time.Unix(reset, 0)
	case reply.StatusCode == http.StatusTooManyRequests, secondaryLimit(body):
		until = now.Add(secondaryWait)
	default:
		return time.Time{}, false
	}
	// GitHub's clock and ours may differ: never a time that has passed, which would be a busy loop, and never days.
	if earliest := now.Add(time.Second); until.Before(earliest) {
		until = earliest
	}
	if latest := now.Add(maxWait); until.After(latest) {
		until = latest
	}
	return until, true
}

func headerNumber(reply *http.Response, name string) int64 {
	n, err := strconv.ParseInt(reply.Header.Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func secondaryLimit(body []byte) bool {
	var e struct {
		Message string `json:"message"`
		URL     string `json:"documentation_url"`
	}
	if json.Unmarshal(body, &e) != nil {
		return false
	}
	return strings.Contains(e.URL, "rate-limits") || strings.Contains(strings.ToLower(e.Message), "secondary rate limit")
}
