package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/client"
)

func newSnapshotCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot", Aliases: []string{"snapshots"}, Short: "Keep states of a preview to return to",
		Example: "  mayfly snapshot create shop-trial before-import\n  mayfly snapshot restore shop-trial before-import --wait",
	}
	cmd.AddCommand(newSnapshotCreateCommand(s), newSnapshotListCommand(s), newSnapshotRestoreCommand(s), newSnapshotRemoveCommand(s))
	return group(cmd)
}

func (s *shell) snapshotsAnswer(value any, all ...client.Snapshot) *answer {
	ids, rows := []string{}, make([][]string, len(all))
	for i, one := range all {
		kept := "with its preview"
		if one.Keep {
			kept = until(one.ExpiresAt)
		}
		ids = append(ids, one.ID)
		rows[i] = []string{one.Name, one.Preview, bytesText(one.SizeBytes), age(one.CreatedAt), kept, one.ID}
	}
	return &answer{value: value, names: ids, table: func(w *screen) error {
		return w.rows([]string{"NAME", "PREVIEW", "SIZE", "AGE", "ENDS", "ID"}, rows)
	}}
}

func newSnapshotCreateCommand(s *shell) *cobra.Command {
	var r client.CreateSnapshot
	cmd := &cobra.Command{
		Use: "create PREVIEW [NAME]", Short: "Keep the state that a preview has now", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: s.completePreview,
		Long: "Keep the state that a preview has now, under a name. Its clients notice a short pause. It goes with its preview, unless --keep lets it\n" +
			"outlive that: then new sandboxes can be made from it (mayfly create --snapshot ID).",
		Example: "  mayfly snapshot create shop-trial before-import\n  mayfly snapshot create shop-trial bug-4711 --keep --ttl 60d",
	}
	s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		if len(args) == 2 {
			r.Name = args[1]
		}
		made, err := c.CreateSnapshot(ctx, args[0], r)
		if err != nil {
			return nil, interrupted(err, "making a snapshot of "+args[0], "mayfly snapshot ls "+args[0])
		}
		return s.snapshotsAnswer(made, *made), nil
	})
	cmd.Flags().BoolVar(&r.Keep, "keep", false, "let it outlive its preview")
	cmd.Flags().StringVar(&r.TTL, "ttl", "", "with --keep: for how long, such as 60d; 30d if left out, 90d at most")
	return cmd
}

func newSnapshotListCommand(s *shell) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "ls [PREVIEW]", Aliases: []string{"list"}, Short: "List the snapshots of a preview, or of a project", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completePreview,
		Example: "  mayfly snapshot ls shop-trial\n  mayfly snapshot ls --project shop",
	}
	s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		found, of := c.Snapshots, strings.Join(args, "")
		if of == "" {
			var err error
			if of, err = s.project(ctx, c, name); err != nil {
				return nil, err
			}
			found = c.ProjectSnapshots
		}
		all := []client.Snapshot{}
		for one, err := range found(ctx, of) {
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		if len(all) == 0 {
			s.note("there are no snapshots; make one with: mayfly snapshot create PREVIEW")
		}
		return s.snapshotsAnswer(all, all...), nil
	})
	s.addProject(cmd, &name)
	return cmd
}

func newSnapshotRestoreCommand(s *shell) *cobra.Command {
	return s.changes(&cobra.Command{
		Use: "restore PREVIEW SNAPSHOT", Short: "Let a preview go back to a snapshot; what was written since is lost", Args: cobra.ExactArgs(2),
		Example: "  mayfly snapshot restore shop-trial before-import --wait",
	}, "restoring", &waiting{}, func(ctx context.Context, c *client.Client, args []string) (*client.Preview, error) {
		return c.RestoreSnapshot(ctx, args[0], args[1])
	})
}

func newSnapshotRemoveCommand(s *shell) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "rm PREVIEW SNAPSHOT…", Aliases: []string{"remove"}, Short: "Remove snapshots; previews that were made from them keep their data", Args: cobra.MinimumNArgs(1),
		Long:    "Remove snapshots of a preview, by name or id. Those whose preview is gone are named by id, with --project in place of the preview.",
		Example: "  mayfly snapshot rm shop-trial before-import\n  mayfly snapshot rm --project shop n4k2…", ValidArgsFunction: s.completePreview,
	}
	s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		remove, of := c.DeleteProjectSnapshot, name
		if name == "" {
			if len(args) < 2 {
				return nil, usage("which snapshot? mayfly snapshot rm PREVIEW SNAPSHOT")
			}
			remove, of, args = c.DeleteSnapshot, args[0], args[1:]
		}
		removed := []string{}
		var failures []error
		for _, one := range args {
			if err := remove(ctx, of, one); err != nil {
				failures = append(failures, interrupted(err, "removing "+one, "mayfly snapshot ls"))
				continue
			}
			removed = append(removed, one)
		}
		return &answer{value: removed, names: removed, problem: errors.Join(failures...), table: func(w *screen) error {
			for _, one := range removed {
				fmt.Fprintln(w, cell(one)+" is removed")
			}
			return nil
		}}, nil
	})
	cmd.Flags().StringVarP(&name, "project", "p", "", "the project, for snapshots whose preview is gone")
	_ = cmd.RegisterFlagCompletionFunc("project", s.completeProject)
	return cmd
}
