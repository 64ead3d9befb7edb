package config

import (
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// Quota bounds what previews may use together. Zero fields are unbounded.
type Quota struct {
	Previews, Running      int
	DiskBytes, MemoryBytes int64
	Lifetime               time.Duration
}

// Quotas are those of the whole server, and of each project, person and token; Projects has those of single projects.
type Quotas struct {
	Server, Project, Person, Token Quota
	Projects                       map[string]Quota
}

type fileQuota struct {
	Previews int      `yaml:"previews"`
	Running  int      `yaml:"running"`
	Disk     Bytes    `yaml:"disk"`
	Memory   Bytes    `yaml:"memory"`
	Lifetime Duration `yaml:"lifetime"`
}

type fileQuotas struct {
	Server  fileQuota `yaml:"server"`
	Project fileQuota `yaml:"project"`
	Person  fileQuota `yaml:"person"`
	Token   fileQuota `yaml:"token"`
}

// resolveQuotas reads the section quotas and the quota of each project.
func (f *file) resolveQuotas(c *Config) error {
	c.Quotas.Projects = map[string]Quota{}
	for _, section := range []struct {
		name string
		from fileQuota
		into *Quota
	}{
		{"quotas.server", f.Quotas.Server, &c.Quotas.Server}, {"quotas.project", f.Quotas.Project, &c.Quotas.Project},
		{"quotas.person", f.Quotas.Person, &c.Quotas.Person}, {"quotas.token", f.Quotas.Token, &c.Quotas.Token},
	} {
		var err error
		if *section.into, err = section.from.resolve(section.name); err != nil {
			return err
		}
	}
	for _, p := range f.Projects {
		if p.Quota == nil {
			continue
		}
		quota, err := p.Quota.resolve("quota of project " + p.Name)
		if err != nil {
			return err
		}
		c.Quotas.Projects[p.Name] = quota
	}
	return nil
}

func (q fileQuota) resolve(name string) (Quota, error) {
	if q.Previews < 0 || q.Running < 0 || q.Disk < 0 || q.Memory < 0 || q.Lifetime < 0 {
		return Quota{}, mayfly.Errorf(mayfly.CodeInvalid, "%s: a number is below 0", name).WithHint("leave out what is not to be bounded")
	}
	return Quota{
		Previews: q.Previews, Running: q.Running, DiskBytes: int64(q.Disk), MemoryBytes: int64(q.Memory), Lifetime: time.Duration(q.Lifetime),
	}, nil
}
