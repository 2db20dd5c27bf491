package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 600, 1 << 20: 600, 4 << 20: 500, 8 << 20: 200, 12 << 20: 100, 16 << 20: 75, 24 << 20: 75, 1 << 40: 75} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes alive: %d, want %d", live, got, want)
		}
	}
}

// The floor follows what is alive.
func TestKeepHeapFloor(t *testing.T) {
	t.Setenv("GOGC", "")
	keepHeapFloor()
	gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	becomes := func(what string, ok func(percent uint64) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; runtime.GC() {
			metrics.Read(gogc)
			if ok(gogc[0].Value.Uint64()) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: GOGC is %d", what, gogc[0].Value.Uint64())
			}
		}
	}
	becomes("a small heap", func(p uint64) bool { return p > minGCPercent })
	much := make([]*[1 << 20]byte, 2*heapFloor>>20)
	for i := range much {
		much[i] = new([1 << 20]byte)
	}
	becomes("a large heap", func(p uint64) bool { return p == minGCPercent })
	runtime.KeepAlive(much)
	becomes("a small heap again", func(p uint64) bool { return p > minGCPercent })
}
