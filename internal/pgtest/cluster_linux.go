package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const startupPatience = 60 * time.Second

// cluster is one PostgreSQL server of this process. The kernel stops it when the process dies, however it dies.
type cluster struct {
	bin, dir string
	port     int
	cmd      *exec.Cmd
	dead     chan struct{} // closed when cmd has ended
}

func newCluster() (*cluster, error) {
	bin, err := findBin()
	if err != nil {
		return nil, err
	}
	sweep()
	dir, err := os.MkdirTemp("", dirPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, err
	}
	c := &cluster{bin: bin, dir: dir}
	if c.port, err = freePort(); err != nil {
		return nil, err
	}
	if err := own(dir); err != nil {
		return nil, err
	}
	initdb := c.command("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D", filepath.Join(dir, "data"))
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return c, c.start()
}

// dirPrefix begins the names of clusters' folders; the number of the process that owns it follows.
const dirPrefix = "facteur-pgtest-"

// sweep removes the folders of test processes that are gone: a process cannot clean up after its own end.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		name := strings.TrimPrefix(filepath.Base(dir), dirPrefix)
		pid, err := strconv.Atoi(name[:max(strings.IndexByte(name, '-'), 0)])
		if err == nil && pid != os.Getpid() && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir) //nolint:errcheck // the next run tries again
		}
	}
}

func (c *cluster) url(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", c.port, database)
}

func (c *cluster) pid() int { return c.cmd.Process.Pid }

// start runs the server and waits until it takes connections.
func (c *cluster) start() error {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// fsync and synchronous_commit keep their defaults: the tests are about durability.
	cmd := c.command("postgres", "-D", filepath.Join(c.dir, "data"), "-k", c.dir, "-p", strconv.Itoa(c.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", "-c", "shared_buffers=64MB", "-c", "max_wal_size=1GB")
	cmd.Stdout, cmd.Stderr = log, log
	dead := make(chan struct{})
	started := make(chan error, 1)
	// The death signal follows the thread that started the child, not the process: this thread waits for it.
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() //nolint:errcheck // it is stopped by signal
		}
		close(dead)
	}()
	if err := <-started; err != nil {
		return err
	}
	c.cmd, c.dead = cmd, dead
	ctx, cancel := context.WithTimeout(context.Background(), startupPatience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-dead:
			out, _ := os.ReadFile(log.Name())
			return fmt.Errorf("postgres ended at once: %s", bytes.TrimSpace(out))
		case <-ctx.Done():
			return fmt.Errorf("postgres does not come up: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// restart ends the server without a checkpoint and starts it again.
func (c *cluster) restart() error {
	if err := c.cmd.Process.Signal(syscall.SIGQUIT); err != nil { // immediate shutdown
		return err
	}
	<-c.dead
	return c.start()
}

// command runs one of PostgreSQL's programs, which refuse to run as root.
func (c *cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...) //nolint:gosec // our own arguments
	cmd.Dir = c.dir
	cmd.SysProcAttr = asPostgres()
	return cmd
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// findBin is the folder of PostgreSQL's server programs, installed when there is none.
func findBin() (string, error) {
	if dir, ok := installed(); ok {
		return dir, nil
	}
	if err := install(); err != nil {
		return "", fmt.Errorf("PostgreSQL is not installed and could not be (%w); install it or set %s", err, Env)
	}
	if dir, ok := installed(); ok {
		return dir, nil
	}
	return "", fmt.Errorf("PostgreSQL was installed but initdb is not found; set %s", Env)
}

func installed() (string, bool) {
	// Numbers sort by length first, so that 9 comes before 15.
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(dirs) > 0 {
		newest := slices.MaxFunc(dirs, func(a, b string) int {
			if len(a) != len(b) {
				return len(a) - len(b)
			}
			return strings.Compare(a, b)
		})
		return filepath.Dir(newest), true
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(real), true
		}
	}
	return "", false
}

// install gets Debian's PostgreSQL. Test processes run side by side: one installs, the others wait at the lock.
func install() error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("there is no apt-get")
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "facteur-pgtest.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if _, ok := installed(); ok {
		return nil
	}
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "postgresql"}} {
		cmd := exec.Command("apt-get", args...) //nolint:gosec // constant
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lines[len(lines)-1])
		}
	}
	return nil
}
