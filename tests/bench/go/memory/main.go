// memory ROW N - Go's side of memory.alloc_*, trees, mark_* and barrier: the same work as
// tests/bench/rt_memory.c
//
// Nothing is tuned; GOMAXPROCS comes from the environment.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"brunt.dev/bench/row"
)

// Allocation: garbage at once. Globals, so that nothing stays on the stack.

type (
	free16   struct{ words [2]uint64 }
	free64   struct{ words [8]uint64 }
	free1024 struct{ words [128]uint64 }
	ptr16    struct {
		to    *ptr16
		words [1]uint64
	}
	ptr64 struct {
		to    *ptr64
		words [7]uint64
	}
	ptr1024 struct {
		to    *ptr1024
		words [127]uint64
	}
)

var (
	sinkFree16   *free16
	sinkFree64   *free64
	sinkFree1024 *free1024
	sinkPtr16    *ptr16
	sinkPtr64    *ptr64
	sinkPtr1024  *ptr1024
)

func perOp(start time.Time, n int) row.Result {
	return row.Result{"value": float64(time.Since(start).Nanoseconds()) / float64(n)}
}

func alloc16(n int) row.Result {
	start := time.Now()
	for i := 0; i < n; i++ {
		p := new(free16)
		p.words[0] = uint64(i)
		sinkFree16 = p
	}
	return perOp(start, n)
}

func alloc16Ptr(n int) row.Result {
	start := time.Now()
	for i := 0; i < n; i++ {
		p := new(ptr16)
		p.words[0] = uint64(i)
		sinkPtr16 = p
	}
	return perOp(start, n)
}

func alloc64(n int) row.Result {
	start := time.Now()
	for i := 0; i < n; i++ {
		p := new(free64)
		p.words[0] = uint64(i)
		sinkFree64 = p
	}
	return perOp(start, n)
}

func alloc64Ptr(n int) row.Result {
	start := time.Now()
	for i := 0; i < n; i++ {
		p := new(ptr64)
		p.words[0] = uint64(i)
		sinkPtr64 = p
	}
	return perOp(start, n)
}

func alloc1024(n int) row.Result {
	start := time.Now()
	for i := 0; i < n; i++ {
		p := new(free1024)
		p.words[0] = uint64(i)
		sinkFree1024 = p
	}
	return perOp(start, n)
}

func alloc1024Ptr(n int) row.Result {
	start := time.Now()
	for i := 0; i < n; i++ {
		p := new(ptr1024)
		p.words[0] = uint64(i)
		sinkPtr1024 = p
	}
	return perOp(start, n)
}

// Binary trees, as the Benchmarks Game has them, with a depth step of 4.

type node struct{ left, right *node }

func bottomUp(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{bottomUp(depth - 1), bottomUp(depth - 1)}
}

func (n *node) check() int64 {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.check() + n.right.check()
}

func trees(max int) row.Result {
	const min, step = 4, 4
	start := time.Now()
	checks := []float64{float64(bottomUp(max + 1).check())}
	longLived := bottomUp(max)
	for depth := min; depth <= max; depth += step {
		check := int64(0)
		for i := 0; i < 1<<(max-depth+min); i++ {
			check += bottomUp(depth).check()
		}
		checks = append(checks, float64(check))
	}
	checks = append(checks, float64(longLived.check()))
	return row.Result{"trees_wall_s": time.Since(start).Seconds(), "value": row.CPUSeconds(),
		"checks": checks}
}

// Marking: forced cycles over a graph of which all is alive.

func mark(root *row.Vertex, n uint64) row.Result {
	const cycles, walk = 3, 1 << 20
	var ns, marking []float64
	runtime.GC() // what the building left
	for i := 0; i < cycles; i++ {
		cpu, before := row.CPUSeconds(), row.ReadClasses()
		runtime.GC()
		ns = append(ns, (row.CPUSeconds()-cpu)*1e9/float64(n))
		now := row.ReadClasses()
		marking = append(marking, (now.GC-now.Pauses-before.GC+before.Pauses)*1e9/float64(n))
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r := row.Result{"value": row.Median(ns), "own_account_ns": row.Median(marking),
		"objects": m.HeapObjects, "check": row.Walk(root, walk)}
	runtime.KeepAlive(root)
	return r
}

// 2^n objects.
func markRandom(n int) row.Result { return mark(row.RandomGraph(1<<n), 1<<n) }
func markLocal(n int) row.Result  { return mark(row.LocalGraph(n-1), 1<<n-1) }

// The barrier: pointer stores while nothing is marked, and while a graph of 2^n objects is.

const cells, stores, batches = 1024, 1 << 14, 400

var collecting, enough atomic.Bool

func collector(done *sync.WaitGroup) {
	for !enough.Load() {
		collecting.Store(true)
		runtime.GC()
		collecting.Store(false)
	}
	done.Done()
}

//go:noinline
func storeBatch(all *[cells]*row.Vertex, shift uint) {
	for i := uint(0); i < stores; i++ {
		all[i%cells].To[3] = all[(i*7+shift)%cells]
	}
}

// Median over batches, of which each lay within a cycle (or outside of all). A cycle is marking for
// all but a few parts in a hundred of its time.
func storeNs(all *[cells]*row.Vertex, within bool) float64 {
	var ns []float64
	for shift := uint(0); len(ns) < batches; shift++ {
		before := collecting.Load()
		start := time.Now()
		storeBatch(all, shift)
		took := float64(time.Since(start).Nanoseconds()) / stores
		if before == within && collecting.Load() == within {
			ns = append(ns, took)
		}
	}
	return row.Median(ns)
}

func barrier(n int) row.Result {
	root := row.RandomGraph(1 << n)
	all := new([cells]*row.Vertex)
	var done sync.WaitGroup
	for i := range all {
		all[i] = new(row.Vertex)
	}
	runtime.GC()
	off := storeNs(all, false)
	done.Add(1)
	go collector(&done)
	on := storeNs(all, true)
	enough.Store(true)
	done.Wait()
	runtime.KeepAlive(root)
	return row.Result{"value": on, "off": off}
}

func main() {
	row.Main(map[string]func(n int) row.Result{
		"alloc_1024":     alloc1024,
		"alloc_1024_ptr": alloc1024Ptr,
		"alloc_16":       alloc16,
		"alloc_16_ptr":   alloc16Ptr,
		"alloc_64":       alloc64,
		"alloc_64_ptr":   alloc64Ptr,
		"barrier":        barrier,
		"mark_local":     markLocal,
		"mark_random":    markRandom,
		"trees":          trees,
	})
}
