package api

import (
	"container/list"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

// RateLimits bound how often the API may be asked. They are counted by each process by itself: with several replicas behind one
// address a client has up to as many times more.
type RateLimits struct {
	// TokenPerMinute is for each token; 0 means 600, below 0 unbounded. Bursts may be a quarter of it.
	TokenPerMinute int
	// AddressPerMinute is for requests without a good token, by address (of IPv6, by /64); 0 means 60, below 0 unbounded.
	AddressPerMinute int
}

const (
	defaultTokenRate   = 600
	defaultAddressRate = 60
	// maxLimited is how many tokens, or addresses, are remembered: about 200 bytes each. The one that was not seen for longest goes first;
	// it comes back with a full bucket.
	maxLimited = 20_000
)

// limiter gives every key a bucket of tokens.
type limiter struct {
	name  string
	limit rate.Limit
	burst int
	now   func() time.Time

	mu     sync.Mutex
	byKey  map[string]*list.Element
	recent *list.List // of *bucket, the one that was used last in front
}

type bucket struct {
	key     string
	limiter *rate.Limiter
}

// bucketOf returns what an element of limiter.recent holds: nothing else is put into that.
func bucketOf(element *list.Element) *bucket {
	b, _ := element.Value.(*bucket)
	return b
}

// newLimiter makes a limiter for so many events a minute; nil, which allows everything, for fewer than none.
func newLimiter(name string, perMinute, burst int, now func() time.Time) *limiter {
	if perMinute < 0 {
		return nil
	}
	return &limiter{
		name: name, limit: rate.Limit(float64(perMinute) / 60), burst: max(burst, 1), now: now, byKey: map[string]*list.Element{}, recent: list.New(),
	}
}

// take takes one from the key's bucket. It tells what is left, and after how long there is one more, or all of them.
func (l *limiter) take(key string) (ok bool, left int, next, full time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	element, known := l.byKey[key]
	if !known {
		element = l.recent.PushFront(&bucket{key: key, limiter: rate.NewLimiter(l.limit, l.burst)})
		l.byKey[key] = element
		if l.recent.Len() > maxLimited {
			oldest := l.recent.Back()
			delete(l.byKey, bucketOf(oldest).key)
			l.recent.Remove(oldest)
		}
	}
	l.recent.MoveToFront(element)
	b := bucketOf(element).limiter
	now := l.now()
	ok = b.AllowN(now, 1)
	has := b.TokensAt(now)
	return ok, max(int(has), 0), l.timeFor(1 - has), l.timeFor(float64(l.burst) - has)
}

// timeFor returns how long it takes until so many more are in a bucket.
func (l *limiter) timeFor(n float64) time.Duration {
	if n <= 0 || l.limit <= 0 {
		return 0
	}
	return time.Duration(n / float64(l.limit) * float64(time.Second))
}

// allow is take without the rest.
func (l *limiter) allow(key string) bool {
	if l == nil {
		return true
	}
	ok, _, _, _ := l.take(key)
	return ok
}

// check takes one from the key's bucket and says in the headers how it stands (draft-ietf-httpapi-ratelimit-headers-10).
// CodeRateLimited if there was none.
func (l *limiter) check(c echo.Context, key string) error {
	if l == nil {
		return nil
	}
	ok, left, next, full := l.take(key)
	header := c.Response().Header()
	header.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", l.name, l.burst, seconds(l.timeFor(float64(l.burst)))))
	header.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", l.name, left, seconds(full)))
	if ok {
		return nil
	}
	header.Set(echo.HeaderRetryAfter, strconv.Itoa(max(seconds(next), 1)))
	return mayfly.Errorf(mayfly.CodeRateLimited, "too many requests").
		WithHint("come again after the seconds in Retry-After; wait=ready and the streams of events save asking again and again")
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

func (a *API) makeLimiters() {
	perToken, perAddress := orDefault(a.RateLimits.TokenPerMinute, defaultTokenRate), orDefault(a.RateLimits.AddressPerMinute, defaultAddressRate)
	a.byToken = newLimiter("token", perToken, perToken/4, a.Clock)
	a.byAddress = newLimiter("address", perAddress, perAddress/2, a.Clock)
	const denialsPerMinute, denialBurst = 6, 20
	a.denials = newLimiter("denials", denialsPerMinute, denialBurst, a.Clock)
	const useEvery = 5 // minutes
	a.uses = newLimiter("uses", 1, 1, a.Clock)
	a.uses.limit = rate.Every(useEvery * time.Minute)
}

func orDefault(n, fallback int) int {
	if n == 0 {
		return fallback
	}
	return n
}

func (a *API) limitToken(c echo.Context, token *auth.Token) error {
	return a.byToken.check(c, token.ID)
}

// limitAddress counts a request that nobody answers for against its address.
func (a *API) limitAddress(c echo.Context) error {
	return a.byAddress.check(c, addressKey(a.address(c)))
}

// addressKey is what addresses are counted by: of IPv6 the /64, because a client has all of it.
func addressKey(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "unknown"
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// recordUse keeps track of the tokens that are used, each once in some minutes. It is no reason to refuse a request.
func (a *API) recordUse(c echo.Context, token *auth.Token) {
	if !a.uses.allow(token.ID) {
		return
	}
	if err := a.Store.TokenUsed(c.Request().Context(), tokenRecord(token), a.Clock()); err != nil {
		a.Logger.WarnContext(c.Request().Context(), "cannot record the use of a token", "token", token.ID, "error", err)
	}
}

func tokenRecord(token *auth.Token) store.TokenRecord {
	record := store.TokenRecord{
		ID: token.ID, Subject: token.Subject, Projects: token.Projects, Roles: map[string]string{}, SessionID: token.Session,
		IssuedAt: token.IssuedAt, ExpiresAt: token.ExpiresAt,
	}
	for _, scope := range token.Scopes {
		record.Scopes = append(record.Scopes, string(scope))
	}
	for project, role := range token.Grants {
		record.Roles[project] = string(role)
	}
	return record
}

// extractor finds out where a request came from: the connection's own address, or, if that is a proxy which is trusted, what it says.
func extractor(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, prefix := range trusted {
		options = append(options, echo.TrustIPRange(ipNet(prefix)))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	addr := p.Masked().Addr()
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(p.Bits(), addr.BitLen())}
}
