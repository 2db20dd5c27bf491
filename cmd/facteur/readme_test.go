package main

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is expected instead of comparing with it")

// The table of variables in the README is the one that the program knows.
func TestReadmeHasTheConfiguration(t *testing.T) {
	const path = "../../README.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	readme, want := string(b), configMarkdown()
	head, _, _ := strings.Cut(want, "\n")
	start := strings.Index(readme, head)
	if start < 0 {
		t.Fatal("the README has no table of variables")
	}
	end := start + strings.Index(readme[start:], "\n\n") + 1
	if readme[start:end] == want {
		return
	}
	if !*update {
		t.Fatal("the README's table of variables is stale; run: go test ./cmd/facteur -run Readme -update")
	}
	if err := os.WriteFile(path, []byte(readme[:start]+want+readme[end:]), 0o600); err != nil {
		t.Fatal(err)
	}
}
