package forge

import (
	"bytes"
	"container/list"
	"sync"
)

const (
	objectCacheBytes = 64 << 20
	pageCacheEntries = 256
	// maxCachedPage keeps one huge page from costing what the others are worth together.
	maxCachedPage = 4 << 20
)

// objectCache keeps the Git objects used last. They never change, so nothing in it is ever stale. Safe for concurrent use.
type objectCache struct {
	mu    sync.Mutex
	limit int
	size  int
	byKey map[string]*list.Element
	order *list.List // of *object, the one used last in front
}

type object struct {
	key     string
	content []byte
}

func newObjectCache(limit int) *objectCache {
	return &objectCache{limit: limit, byKey: map[string]*list.Element{}, order: list.New()}
}

// get returns a copy of what is kept under key.
func (c *objectCache) get(key string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.byKey[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(element)
	o, _ := element.Value.(*object) // nothing else is put in
	return bytes.Clone(o.content), true
}

// put keeps content, which the caller must not change afterwards.
func (c *objectCache) put(key string, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[key]; ok || len(content) > c.limit/4 {
		return
	}
	c.byKey[key] = c.order.PushFront(&object{key: key, content: content})
	c.size += len(key) + len(content)
	for c.size > c.limit {
		o, _ := c.order.Remove(c.order.Back()).(*object) // nothing else is put in
		delete(c.byKey, o.key)
		c.size -= len(o.key) + len(o.content)
	}
}

// page is an answer with its ETag.
type page struct {
	etag     string
	response response
}

// pageCache keeps answers that can be asked for again by ETag. Safe for concurrent use.
type pageCache struct {
	mu     sync.Mutex
	limit  int
	byPath map[string]*page
}

func newPageCache(limit int) *pageCache {
	return &pageCache{limit: limit, byPath: map[string]*page{}}
}

func (c *pageCache) get(path string) *page {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byPath[path]
}

func (c *pageCache) put(path, etag string, r response) {
	if etag == "" || len(r.body) > maxCachedPage {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byPath[path]; !ok && len(c.byPath) >= c.limit {
		for some := range c.byPath { // which one hardly matters: a miss costs one request
			delete(c.byPath, some)
			break
		}
	}
	c.byPath[path] = &page{etag: etag, response: r}
}
