package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/store"
)

func TestKeyset(t *testing.T) {
	keys, err := store.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.Seal("row/1", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyset.json")
	if _, err := store.LoadKeyset(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := keys.Save(path); err != nil {
		t.Fatal(err)
	}
	if err := keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := keys.Save(path); err != nil { // over the old one
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	loaded, err := store.LoadKeyset(path)
	if err != nil || loaded.Len() != 2 {
		t.Fatalf("loaded %v, %v", loaded, err)
	}
	if plain, err := loaded.Open("row/1", sealed); err != nil || string(plain) != "secret" {
		t.Errorf("opened %q, %v", plain, err)
	}
	tampered := append([]byte{}, sealed...)
	tampered[len(tampered)-1] ^= 1
	for name, try := range map[string]struct {
		aad    string
		sealed []byte
	}{"tampered": {"row/1", tampered}, "moved": {"row/2", sealed}, "short": {"row/1", sealed[:3]}, "none": {"row/1", nil}} {
		if _, err := loaded.Open(try.aad, try.sealed); err != store.ErrSealed { //nolint:errorlint // nothing may be added to it
			t.Errorf("%s: %v", name, err)
		}
	}
	clear, err := keys.Export()
	if err != nil {
		t.Fatal(err)
	}
	if printed := fmt.Sprintf("%v %s", keys, keys); strings.Contains(printed, "value") || strings.Contains(string(clear), printed) {
		t.Errorf("prints as %s", printed)
	}
	const broken = `{"primaryKeyId":1,"key":[{"keyData":{"value":"c2VjcmV0"}}]}`
	if _, err := store.ParseKeyset([]byte(broken)); err == nil || strings.Contains(err.Error(), "c2Vj") {
		t.Errorf("broken: %v", err)
	}
}
