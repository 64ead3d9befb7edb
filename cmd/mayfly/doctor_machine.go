package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/internal/config"
)

// diagnoseCertificates looks at the certificate of the gateway.
func diagnoseCertificates(c *config.Config) []finding {
	path, fix := c.Gateway.CertFile, "renew it: the service reads the new files by itself"
	if path == "" {
		path, fix = filepath.Join(keysDir(c), "gateway.crt"), "restart the service: it makes a new one"
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && c.Gateway.CertFile == "" {
		return []finding{ok("certificate", "the gateway makes one for itself at its first start; clients that check it need a certificate of your own (gateway.cert_file)")}
	}
	if err != nil {
		return []finding{{Check: "certificate", Status: "error", Detail: "the gateway's cannot be read: " + err.Error(), Fix: "check gateway.cert_file"}}
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return []finding{{Check: "certificate", Status: "error", Detail: path + " has no certificate in PEM", Fix: "check gateway.cert_file"}}
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return []finding{{Check: "certificate", Status: "error", Detail: path + " cannot be read: " + err.Error(), Fix: fix}}
	}
	findings := []finding{certificateFinding("the gateway's certificate", certificate, fix)}
	host, _ := c.GatewayAddress()
	for _, name := range []string{host, wildcard(c.Gateway.BaseDomain)} {
		if name != "" && certificate.VerifyHostname(name) != nil {
			findings = append(findings, finding{
				Check: "certificate", Status: "warning", Detail: "the gateway's certificate is not for " + name + ": clients with sslmode=verify-full refuse it",
				Fix: "get one for " + name,
			})
		}
	}
	return findings
}

// wildcard is a name below a domain, as previews have.
func wildcard(domain string) string {
	if domain == "" {
		return ""
	}
	return "preview." + domain
}

const certificateWarns = 21 * 24 * time.Hour

func certificateFinding(what string, certificate *x509.Certificate, fix string) finding {
	left := time.Until(certificate.NotAfter)
	f := ok("certificate", "%s is good for %s more", what, rough(left))
	switch {
	case left <= 0:
		f = finding{Check: "certificate", Status: "error", Detail: what + " expired " + rough(-left) + " ago", Fix: fix}
	case left < certificateWarns:
		f.Status, f.Fix = "warning", fix
	}
	return f
}

// diagnoseLimits looks at what the machine allows a process, and all of them together.
func diagnoseLimits(c *config.Config) []finding {
	var findings []finding
	var files unix.Rlimit
	// The gateway holds two files for a connection, a preview some more.
	wanted := uint64(2*max(c.Gateway.MaxConnections, 1000) + 1000)
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		f := ok("limits", "open files: %d", files.Max)
		if files.Max < wanted {
			f.Status, f.Fix = "warning", "LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536"
			f.Detail += ", and " + strconv.FormatUint(wanted, 10) + " may be needed for gateway.max_connections"
		}
		findings = append(findings, f)
	}
	previews := max(c.MaxPreviews, 100)
	for _, limit := range []struct {
		name, path, fix string
		each            int // for each preview
	}{
		{"processes", "/proc/sys/kernel/pid_max", "sysctl -w kernel.pid_max=4194304", 64},
		{"threads", "/proc/sys/kernel/threads-max", "sysctl -w kernel.threads-max=1000000", 64},
		{"inotify instances", "/proc/sys/fs/inotify/max_user_instances", "sysctl -w fs.inotify.max_user_instances=8192", 1},
	} {
		raw, err := os.ReadFile(limit.path)
		if err != nil {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(raw)))
		if err != nil {
			continue
		}
		f := ok("limits", "%s: %d", limit.name, n)
		if n < limit.each*previews {
			f.Status, f.Fix = "warning", limit.fix
			f.Detail += " of this machine, and " + strconv.Itoa(previews) + " previews may need " + strconv.Itoa(limit.each*previews)
		}
		findings = append(findings, f)
	}
	return findings
}

// diagnoseDisk looks at the free space where data_dir is, and at its inodes.
func diagnoseDisk(c *config.Config) []finding {
	dir := c.DataDir
	var stat unix.Statfs_t
	for {
		err := unix.Statfs(dir, &stat)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return []finding{{Check: "disk", Status: "error", Detail: dir + ": " + err.Error(), Fix: "check data_dir"}}
		}
		dir = filepath.Dir(dir)
	}
	free, total := int64(stat.Bavail)*stat.Bsize, int64(stat.Blocks)*stat.Bsize
	f := ok("disk", "%s of %s free for %s", bytesText(free), bytesText(total), c.DataDir)
	const fix = "make room, or put data_dir on a larger disk"
	switch {
	case free < 1<<30:
		f.Status, f.Fix = "error", fix
	case free < 10<<30 || free < total/20:
		f.Status, f.Fix = "warning", fix
	}
	findings := []finding{f}
	if stat.Files > 0 && stat.Ffree < stat.Files/50 {
		findings = append(findings, finding{Check: "disk", Status: "warning", Detail: "nearly all inodes are used", Fix: "a clone has as many files as its template: make room, or format with more inodes"})
	}
	return findings
}

// diagnoseClock compares the clock with that of the state database.
func diagnoseClock(ctx context.Context, conn *pgx.Conn) finding {
	asked := time.Now()
	var at time.Time
	if err := conn.QueryRow(ctx, "select clock_timestamp()").Scan(&at); err != nil {
		return failed("clock", err)
	}
	return clockFinding("the state database", at.Sub(asked.Add(time.Since(asked)/2)))
}
