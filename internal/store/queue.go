package store

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// waiting is a queued preview.
type waiting struct {
	claim
	since time.Time
}

// readQueue returns the queued previews, the one that waits for longest first. With lock nobody changes them meanwhile.
func readQueue(ctx context.Context, tx pgx.Tx, lock string) ([]waiting, error) {
	rows, err := tx.Query(ctx, `
		select id, project, created_by, created_token, reserved_disk, reserved_memory,
			coalesce(extract(epoch from expires_at - created_at), 0)::float8, coalesce(queued_at, created_at)
		from preview where state = 'queued' and not want_deleted order by queued_at, id `+lock)
	if err != nil {
		return nil, err
	}
	var queue []waiting
	w := waiting{claim: claim{previews: 1, runs: 1}}
	var seconds float64
	_, err = pgx.ForEachRow(rows, []any{&w.id, &w.project, &w.person, &w.token, &w.disk, &w.memory, &seconds, &w.since}, func() error {
		w.lifetime = time.Duration(seconds * float64(time.Second))
		queue = append(queue, w)
		return nil
	})
	return queue, err
}

// MaxWaiting bounds the sandboxes of one person that wait: what waits counts against no quota, and everybody's turns are looked for among it.
const MaxWaiting = 100

// mayWait returns why there is no room, instead of letting a sandbox wait, if as many of the same person's wait as may. It is called with the
// lock of all creations held. Pull requests are as many as there are, and nobody would make them again.
func mayWait(ctx context.Context, tx pgx.Tx, p *mayfly.Preview, why error) error {
	if p.Kind != mayfly.KindSandbox {
		return nil
	}
	var waiting int
	err := tx.QueryRow(ctx, `select count(*) from preview where state = 'queued' and kind = $1 and created_by = $2`, p.Kind, p.CreatedBy).Scan(&waiting)
	if err != nil {
		return err
	}
	if waiting >= MaxWaiting {
		return why
	}
	return nil
}

// takeTurn removes from the queue, and returns, the preview whose turn it is: of the project with the fewest running previews, the one
// that has waited for longest; of two such projects, the one that has waited for longer. The queue is sorted by time.
func takeTurn(queue []waiting, byProject map[string]int) (waiting, []waiting) {
	turn := 0
	for i := range queue {
		if byProject[queue[i].project] < byProject[queue[turn].project] {
			turn = i
		}
	}
	next := queue[turn]
	return next, slices.Delete(queue, turn, turn+1)
}

// promote admits queued previews in their turns, for as long as there is room. blocked is why the next one would have to wait for the whole
// server: then nobody is let past it, or a large one would wait forever.
func (s *Store) promote(ctx context.Context, tx pgx.Tx, u *usage, full error) (promoted []string, blocked, held error, err error) {
	queue, err := readQueue(ctx, tx, "for update")
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err == nil && len(promoted) > 0 { // the others have moved up
			_, err = tx.Exec(ctx, `select pg_notify('mayfly', id) from preview where state = 'queued'`)
		}
	}()
	turns := map[string]int{}
	for project, n := range u.byProject {
		turns[project] = n
	}
	for len(queue) > 0 {
		var next waiting
		next, queue = takeTurn(queue, turns)
		turns[next.project]++ // also of one that stays, so that another project's turn comes
		limits := s.limitsOf(next.project)
		limits.Full = full
		reason := u.admit(next.claim, limits)
		if reason == nil {
			if err := s.admitQueued(ctx, tx, next); err != nil {
				return nil, nil, nil, err
			}
			u.add(next.claim)
			promoted = append(promoted, next.id)
			continue
		}
		turns[next.project]--
		if held == nil {
			held = reason
		}
		if reached := ReachedQuota(reason); reached == nil || reached.Scope == OfServer {
			return promoted, reason, held, nil
		}
	}
	return promoted, nil, held, nil
}

// admitQueued makes a queued preview one that is to be made. The time that it has waited is not taken from its life.
func (s *Store) admitQueued(ctx context.Context, tx pgx.Tx, w waiting) error {
	_, err := tx.Exec(ctx, `
		update preview set state = 'pending', expires_at = expires_at + (now() - coalesce(queued_at, now())), queued_at = null, queued_why = ''
		where id = $1`, w.id)
	if err != nil {
		return err
	}
	return s.jobs.Converge(ctx, tx, w.id)
}

// room decides, with the lock of all creations held, whether there is room for a new preview after those that wait. It returns nil, or why
// there is none.
func (s *Store) room(ctx context.Context, tx pgx.Tx, p *mayfly.Preview, limits Limits) (why error, err error) {
	if limits.unbounded() { // whatever is bounded elsewhere, this one does not count there
		var waits bool
		if err := tx.QueryRow(ctx, `select exists (select from preview where state = 'queued')`).Scan(&waits); err != nil || !waits {
			return nil, err
		}
	}
	if _, err := tx.Exec(ctx, lockRoom); err != nil {
		return nil, err
	}
	u, err := readUsage(ctx, tx)
	if err != nil {
		return nil, err
	}
	_, blocked, _, err := s.promote(ctx, tx, u, limits.Full)
	if err != nil || blocked != nil {
		return blocked, err
	}
	return u.admit(claimOf(p, time.Now()), limits), nil
}

func (l Limits) unbounded() bool {
	none := Quota{}
	return l.Project == 0 && l.Total == 0 && l.OfServer == none && l.OfProject == none && l.OfPerson == none && l.OfToken == none && l.Full == nil
}

// Promote lets queued previews in for which there is room now, in their turns, and returns how many. full says why the machine has no room
// for any, nil if it has. held is why the first of those that go on waiting does.
func (s *Store) Promote(ctx context.Context, full error) (promoted int, held error, err error) {
	var waits bool
	if err := s.pool.QueryRow(ctx, `select exists (select from preview where state = 'queued')`).Scan(&waits); err != nil {
		return 0, nil, failed(err, "look at the queue")
	}
	if !waits {
		return 0, nil, nil
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockRoom); err != nil {
			return err
		}
		u, err := readUsage(ctx, tx)
		if err != nil {
			return err
		}
		ids, _, why, err := s.promote(ctx, tx, u, full)
		promoted, held = len(ids), why
		return err
	})
	if err != nil {
		return 0, nil, failed(err, "promote queued previews")
	}
	return promoted, held, nil
}

// QueuePlace is where a preview stands in the queue.
type QueuePlace struct {
	// Position is 1 for the one whose turn is next, of Length.
	Position, Length int
	Since            time.Time
	// Why is what it waited for when it was asked for.
	Why string
}

// QueuePlaces returns the places of all queued previews by their ids. They are what the turns would be if room came for one at a time.
func (s *Store) QueuePlaces(ctx context.Context) (map[string]QueuePlace, error) {
	places := map[string]QueuePlace{}
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		queue, err := readQueue(ctx, tx, "")
		if err != nil || len(queue) == 0 {
			return err
		}
		u, err := readUsage(ctx, tx)
		if err != nil {
			return err
		}
		whys, err := queuedWhys(ctx, tx)
		if err != nil {
			return err
		}
		length := len(queue)
		for position := 1; len(queue) > 0; position++ {
			var next waiting
			next, queue = takeTurn(queue, u.byProject)
			u.byProject[next.project]++
			places[next.id] = QueuePlace{Position: position, Length: length, Since: next.since, Why: whys[next.id]}
		}
		return nil
	})
	if err != nil {
		return nil, failed(err, "read the queue")
	}
	return places, nil
}

func queuedWhys(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	rows, err := tx.Query(ctx, `select id, queued_why from preview where state = 'queued'`)
	if err != nil {
		return nil, err
	}
	whys := map[string]string{}
	var id, why string
	_, err = pgx.ForEachRow(rows, []any{&id, &why}, func() error { whys[id] = why; return nil })
	return whys, err
}
