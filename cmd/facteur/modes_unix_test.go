//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesAreTheOwnersOnly(t *testing.T) {
	dir := t.TempDir()
	must(t, dir, "migrate")
	for _, name := range []string{"facteur.db", "facteur.db.keyset"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o", name, mode)
		}
	}
}
