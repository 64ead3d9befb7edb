package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

const (
	// githubLatency is what the fake GitHub takes for an answer, about as long as the real one.
	githubLatency = 50 * time.Millisecond
	// burst is how many pull requests are opened within burstTime.
	burst     = 50
	burstTime = time.Second
)

// measureGitHub measures pull requests with a GitHub that takes its time: one after the other, and many at once.
func (b *bench) measureGitHub(ctx context.Context) error {
	b.service.github.Latency(githubLatency)
	defer b.service.github.Latency(0)
	if err := b.measureSlowGitHub(ctx); err != nil {
		return err
	}
	return b.measureBurst(ctx)
}

func (b *bench) measureSlowGitHub(ctx context.Context) error {
	var took, calls series
	for i := range b.n {
		pr, err := b.service.openPullRequest(ctx, "slow-"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		sha := pr.HeadSHA(ctx)
		b.service.github.ResetCalls()
		began := time.Now()
		if _, err := b.service.deliver(ctx, forgetest.Delivery{Action: "opened", PR: pr}); err != nil {
			return err
		}
		if err := b.service.awaitStatus(ctx, pr, sha); err != nil {
			return err
		}
		took.addMS(time.Since(began))
		total := 0
		for _, n := range b.service.github.Calls() {
			total += n
		}
		calls = append(calls, float64(total))
		if _, err := b.closePullRequest(ctx, pr); err != nil {
			return err
		}
	}
	conditions := map[string]any{
		"template": b.sizes[0].String(), "migrations": 3, "github_latency_ms": githubLatency.Milliseconds(), "calls_until_checks_p50": calls.quantile(0.5),
		"what": "from sending the signed delivery `opened` until both checks on the commit say success, migrations applied; every answer of the fake GitHub takes its time",
	}
	b.record(took.result("pr_ready_slow_github_ms", "ms"), conditions)
	return nil
}

// measureBurst opens many pull requests within a second and waits for each.
func (b *bench) measureBurst(ctx context.Context) error {
	n := burst
	if b.quick {
		n = 10
	}
	pulls := make([]*forgetest.PR, n)
	heads := make([]string, n)
	for i := range pulls {
		var err error
		if pulls[i], err = b.service.openPullRequest(ctx, "burst-"+strconv.Itoa(i)); err != nil {
			return err
		}
		heads[i] = pulls[i].HeadSHA(ctx)
	}
	var mu sync.Mutex
	var took series
	var failure error
	var all sync.WaitGroup
	start := time.Now()
	for i, pr := range pulls {
		if wait := time.Until(start.Add(time.Duration(i) * burstTime / time.Duration(n))); wait > 0 {
			time.Sleep(wait)
		}
		all.Go(func() {
			_, err := b.service.deliver(ctx, forgetest.Delivery{Action: "opened", PR: pr})
			if err == nil {
				err = b.service.awaitStatus(ctx, pr, heads[i])
			}
			mu.Lock()
			defer mu.Unlock()
			took.addMS(time.Since(start))
			failure = errors.Join(failure, err)
		})
	}
	all.Wait()
	last := time.Since(start)
	if failure != nil {
		return fmt.Errorf("%d pull requests at once: %w", n, failure)
	}
	var whole series
	whole.addMS(last)
	conditions := map[string]any{
		"template": b.sizes[0].String(), "migrations": 3, "pull_requests": n, "opened_within_ms": burstTime.Milliseconds(), "github_latency_ms": githubLatency.Milliseconds(),
	}
	with := func(what string) map[string]any {
		c := map[string]any{"what": what}
		for key, value := range conditions {
			c[key] = value
		}
		return c
	}
	b.record(took.result("pr_burst_ready_ms", "ms"), with("from the first of many deliveries `opened` until both checks of one say success"))
	b.record(whole.result("pr_burst_all_ready_ms", "ms"), with("from the first of many deliveries `opened` until both checks of all say success"))
	for _, pr := range pulls {
		if _, err := b.closePullRequest(ctx, pr); err != nil {
			return err
		}
	}
	return nil
}
