package store

import (
	"context"
	"sync"
	"time"
)

// Watcher tells waiting goroutines about changes that any process made. One connection of the pool listens for all of them.
type Watcher struct {
	store *Store

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]struct{}
}

// NewWatcher makes a watcher; Run must be running for it to tell anything.
func (s *Store) NewWatcher() *Watcher {
	return &Watcher{store: s, waiting: map[string]map[chan struct{}]struct{}{}}
}

// Watch returns a channel that receives after every change of the preview or template with that id, or of its steps.
// Changes that come while nobody receives are merged into one. After a lost connection everything is told once, since
// changes may have been missed. stop must be called.
func (w *Watcher) Watch(id string) (changes <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[id] == nil {
		w.waiting[id] = map[chan struct{}]struct{}{}
	}
	w.waiting[id][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.waiting[id], ch)
		if len(w.waiting[id]) == 0 {
			delete(w.waiting, id)
		}
	}
}

// Run listens until ctx ends, reconnecting as often as needed.
func (w *Watcher) Run(ctx context.Context) {
	const retry = time.Second
	for ctx.Err() == nil {
		if err := w.listen(ctx); err != nil && ctx.Err() == nil {
			w.store.logger.WarnContext(ctx, "lost the connection that listens for changes", "error", err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

func (w *Watcher) listen(ctx context.Context) error {
	pooled, err := w.store.pool.Acquire(ctx)
	if err != nil {
		return failed(err, "listen for changes")
	}
	conn := pooled.Hijack() // it is never given back: its LISTEN would go with it
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "listen mayfly"); err != nil {
		return failed(err, "listen for changes")
	}
	w.tellAll()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return failed(err, "listen for changes")
		}
		w.tell(n.Payload)
	}
}

func (w *Watcher) tell(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.waiting[id] {
		signal(ch)
	}
}

func (w *Watcher) tellAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, channels := range w.waiting {
		for ch := range channels {
			signal(ch)
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one is already waiting to be received
	}
}
