package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob" // gs://
	_ "gocloud.dev/blob/s3blob"  // s3://
	"gocloud.dev/gcerrors"
)

// bucket reads from object storage.
type bucket struct{ *blob.Bucket }

func openBucket(ctx context.Context, u *url.URL) (*bucket, error) {
	query := u.Query()
	if u.Scheme == "s3" && !query.Has("response_checksum_validation") {
		// Else every answer of a storage that sends none is complained about on standard error. Our checksums are of whole files.
		query.Set("response_checksum_validation", "when_required")
	}
	of := url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: query.Encode()}
	b, err := blob.OpenBucket(ctx, of.String())
	if err != nil {
		return nil, err
	}
	return &bucket{b}, nil
}

func (b *bucket) close() { _ = b.Close() }

func (b *bucket) stat(ctx context.Context, key string) (object, error) {
	ctx, cancel := context.WithTimeout(ctx, stallTimeout)
	defer cancel()
	a, err := b.Attributes(ctx, key)
	if err != nil {
		return object{}, kindOf(err)
	}
	return object{key: key, size: a.Size, version: a.ETag, modified: a.ModTime}, nil
}

func (b *bucket) list(ctx context.Context, prefix string) ([]object, error) {
	var all []object
	for items := b.List(&blob.ListOptions{Prefix: prefix}); ; {
		item, err := items.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, kindOf(err)
		}
		all = append(all, object{key: item.Key, size: item.Size, modified: item.ModTime})
	}
	return all, nil
}

func (b *bucket) read(ctx context.Context, o object, offset int64) (body, error) {
	options := &blob.ReaderOptions{}
	options.BeforeRead = func(as func(any) bool) error {
		var request *s3.GetObjectInput
		if as(&request) && o.version != "" {
			request.IfMatch = &o.version
		}
		return nil
	}
	r, err := b.NewRangeReader(ctx, o.key, offset, -1, options)
	if err != nil {
		return body{}, kindOf(err)
	}
	if r.Size() != o.size {
		return body{}, errors.Join(errChanged, r.Close())
	}
	return body{ReadCloser: r, from: offset}, nil
}

// kindOf tells what is worth another try from what is not.
func kindOf(err error) error {
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return errNotFound
	case gcerrors.PermissionDenied:
		return errDenied
	case gcerrors.FailedPrecondition:
		return errChanged
	default:
		return fmt.Errorf("ask the storage: %w", err)
	}
}
