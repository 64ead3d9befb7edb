package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

func (s *service) webhookURL() string { return "http://" + s.address + "/webhooks/github" }

// deliver sends a delivery and returns how long its answer took. Anything but success is an error.
func (s *service) deliver(ctx context.Context, d forgetest.Delivery) (time.Duration, error) {
	d.URL, d.Secret = s.webhookURL(), s.secret
	answer, err := s.github.Deliver(ctx, d)
	if err != nil {
		return 0, err
	}
	if answer.Status >= http.StatusMultipleChoices {
		return 0, fmt.Errorf("a delivery was answered with %d: %s", answer.Status, answer.Body)
	}
	return answer.Took, nil
}

// openPullRequest opens a pull request with three trivial migrations.
func (s *service) openPullRequest(ctx context.Context, branch string) (*forgetest.PR, error) {
	files := map[string]string{}
	for i := range 3 {
		name := fmt.Sprintf("%s/%04d_step_%d", migrationsPath, i+1, i+1)
		files[name+".up.sql"] = fmt.Sprintf("-- %s\nCREATE TABLE step_%d (id bigint PRIMARY KEY, name text NOT NULL);\n", branch, i+1)
		files[name+".down.sql"] = fmt.Sprintf("DROP TABLE step_%d;\n", i+1)
	}
	if _, err := s.repository.Commit(ctx, branch, files, "Add three tables"); err != nil {
		return nil, err
	}
	return s.repository.OpenPullRequest(ctx, branch, "main", "Add three tables", forgetest.PROptions{})
}

// awaitStatus waits until both checks on the head of the pull request say success.
func (s *service) awaitStatus(ctx context.Context, pr *forgetest.PR, sha string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		passed := map[string]bool{}
		for _, status := range s.repository.Statuses(sha) {
			switch status.State {
			case "success":
				passed[status.Context] = true
			case "failure", "error":
				return fmt.Errorf("pull request %d failed: %s", pr.Number(), status.Description)
			}
		}
		const checks = 2 // the database, and its migrations
		if len(passed) == checks {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pull request %d has no status: %w", pr.Number(), ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

func (b *bench) previewOf(pr *forgetest.PR) string {
	return b.sizeProjects()[0] + "-pr-" + strconv.Itoa(pr.Number())
}

// closePullRequest closes it, and returns how long its preview was there after the delivery.
func (b *bench) closePullRequest(ctx context.Context, pr *forgetest.PR) (time.Duration, error) {
	if err := pr.Close(ctx, false); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := b.service.deliver(ctx, forgetest.Delivery{Action: "closed", PR: pr}); err != nil {
		return 0, err
	}
	_, err := b.service.call(ctx, http.MethodGet, "/previews/"+b.previewOf(pr)+"?wait=deleted", "")
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound { // it was gone before it was asked for
		err = nil
	}
	return time.Since(began), err
}

// measurePullRequests opens pull requests one after the other.
func (b *bench) measurePullRequests(ctx context.Context) error {
	var total, ready, gone series
	var timeline parts
	for i := range b.n {
		pr, err := b.service.openPullRequest(ctx, "feature-"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		sha := pr.HeadSHA(ctx)
		began := time.Now()
		if _, err := b.service.deliver(ctx, forgetest.Delivery{Action: "opened", PR: pr}); err != nil {
			return err
		}
		if err := b.service.awaitStatus(ctx, pr, sha); err != nil {
			return err
		}
		total.addMS(time.Since(began))
		p, err := b.service.api.Preview(ctx, b.previewOf(pr))
		if err != nil {
			return err
		}
		if p.ReadyAt == nil {
			return fmt.Errorf("%s has a status, and is not ready", p.Name)
		}
		ready.addMS(p.ReadyAt.Sub(began))
		for _, step := range p.Steps {
			if step.Name != "migration" {
				timeline.addMS("step_"+step.Name, time.Duration(step.DurationMS*float64(time.Millisecond)))
			}
		}
		took, err := b.closePullRequest(ctx, pr)
		if err != nil {
			return err
		}
		gone.addMS(took)
	}
	conditions := map[string]any{
		"template": b.sizes[0].String(), "migrations": 3,
		"what": "from sending the signed delivery `opened` until the commit has its status, migrations applied; the fake GitHub runs on the same machine",
	}
	b.record(total.result("pr_ready_ms", "ms"), conditions)
	b.record(ready.result("pr_part_preview_ms", "ms"), conditions)
	timeline.record(b, "pr_part_", conditions)
	b.record(gone.result("pr_gone_ms", "ms"), map[string]any{
		"template": b.sizes[0].String(), "what": "from sending the signed delivery `closed` until nothing is left of the preview",
	})
	return nil
}

// Webhook load: how often, for how long.
const (
	deliveriesPerSecond = 50
	deliverySeconds     = 20
)

// measureWebhooks sends deliveries at a steady rate, whatever the answers take.
func (b *bench) measureWebhooks(ctx context.Context) error {
	seconds := deliverySeconds
	if b.quick {
		seconds = 4
	}
	pr, kinds, err := b.deliveries(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var took series
	var failure error
	var sent sync.WaitGroup
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * deliveriesPerSecond}}
	start := time.Now()
	for i := range seconds * deliveriesPerSecond {
		if wait := time.Until(start.Add(time.Duration(i) * time.Second / deliveriesPerSecond)); wait > 0 {
			time.Sleep(wait)
		}
		d := kinds[i%len(kinds)]
		d.HTTP = client
		sent.Go(func() {
			answer, err := b.service.deliver(ctx, d)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failure = errors.Join(failure, err)
				return
			}
			took.addMS(answer)
		})
	}
	sent.Wait()
	if failure != nil {
		return failure
	}
	b.record(took.result("webhook_ack_ms", "ms"), map[string]any{
		"deliveries_per_second": deliveriesPerSecond, "seconds": seconds,
		"what": "from sending a signed delivery until its answer; in five: two of an unknown repository, two of an action that nothing is done about, " +
			"one `synchronize` of a pull request with a preview",
	})
	_, err = b.closePullRequest(ctx, pr)
	return err
}

// deliveries returns what is sent in turn, with payloads made beforehand, and the pull request that some are about.
func (b *bench) deliveries(ctx context.Context) (*forgetest.PR, []forgetest.Delivery, error) {
	s := b.service
	pr, err := s.openPullRequest(ctx, "load")
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.deliver(ctx, forgetest.Delivery{Action: "opened", PR: pr}); err != nil {
		return nil, nil, err
	}
	if err := s.awaitStatus(ctx, pr, pr.HeadSHA(ctx)); err != nil {
		return nil, nil, err
	}
	other, err := s.github.CreateRepository(ctx, "acme/unknown")
	if err != nil {
		return nil, nil, err
	}
	if _, err := other.Commit(ctx, "topic", map[string]string{"a": "b"}, "Add a file"); err != nil {
		return nil, nil, err
	}
	stranger, err := other.OpenPullRequest(ctx, "topic", "main", "Add a file", forgetest.PROptions{})
	if err != nil {
		return nil, nil, err
	}
	unknown := forgetest.Delivery{Action: "opened", PR: stranger}
	unrelated := forgetest.Delivery{Action: "labeled", PR: pr}
	kinds := []forgetest.Delivery{unknown, unrelated, unknown, unrelated, {Action: "synchronize", PR: pr}}
	for i := range kinds {
		kinds[i].Event = "pull_request"
		if kinds[i].Payload, err = s.github.Payload(ctx, kinds[i]); err != nil {
			return nil, nil, err
		}
	}
	return pr, kinds, nil
}
