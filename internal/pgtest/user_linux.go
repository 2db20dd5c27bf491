package pgtest

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// asPostgres makes a child die with the thread that started it and, under root, run as the user postgres.
func asPostgres() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if uid, gid, ok := postgresUser(); ok {
		attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	return attr
}

// own gives the folder to whoever asPostgres runs as.
func own(dir string) error {
	if uid, gid, ok := postgresUser(); ok {
		return os.Chown(dir, int(uid), int(gid))
	}
	return nil
}

// postgresUser is whom to run as instead of root.
func postgresUser() (uid, gid uint32, ok bool) {
	if os.Getuid() != 0 {
		return 0, 0, false
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		id, err1 := strconv.ParseUint(u.Uid, 10, 32)
		group, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return uint32(id), uint32(group), true
		}
	}
	return 0, 0, false
}
