//go:build !linux

package pgtest

import (
	"errors"
	"os/exec"
	"path/filepath"
)

// cluster is for Linux only. Elsewhere the tests need a server that is already there.
type cluster struct{}

var errNoCluster = errors.New("set " + Env + " to the URL of a PostgreSQL server")

func newCluster() (*cluster, error) { return nil, errNoCluster }

func (*cluster) url(string) string { return "" }

func (*cluster) pid() int { return 0 }

func (*cluster) restart() error { return errNoCluster }

func findBin() (string, error) {
	path, err := exec.LookPath("pg_dump")
	return filepath.Dir(path), err
}
