package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// heapFloor is how large the heap may grow, in bytes, before its garbage is collected. A service at rest has 5 MB alive, and by
// Go's own rule would collect at every 10: when it is busy a hundred times a second, for a tenth of its time. The floor is less
// than a busy service has anyway.
const heapFloor = 24 << 20

// minGCPercent is for all above the floor: how much garbage there may be, in percent of what is alive. Go's own 100 would take more
// memory than large files need.
const minGCPercent = 75

// keepHeapFloor has the garbage collector leave the heap alone below heapFloor. Go has no such setting: GOGC is set anew after each
// collection, by what it left. Who sets GOGC in the environment has the last word. It is for the whole process, and ends with it.
func keepHeapFloor() {
	if os.Getenv("GOGC") != "" {
		return
	}
	type sentinel struct{ _ *byte } // dies with every collection; with a pointer, so that it has an allocation of its own
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := 0
	var collected func(*sentinel)
	collected = func(*sentinel) {
		metrics.Read(live)
		if p := gcPercent(live[0].Value.Uint64()); p != set {
			debug.SetGCPercent(p)
			set = p
		}
		runtime.SetFinalizer(&sentinel{}, collected)
	}
	collected(nil)
}

// gcPercent is the GOGC with which a heap of which live bytes are alive is collected at the floor, or above it by minGCPercent.
func gcPercent(live uint64) int {
	const most = 600 // Go collects at 4 MB times this at the least, however little is alive (package runtime, GOGC): at the floor
	if live >= heapFloor {
		return minGCPercent
	}
	return max(minGCPercent, min(int((heapFloor-live)*100/max(live, 1)), most)) //nolint:gosec // less than most, or than 100 times the floor
}
