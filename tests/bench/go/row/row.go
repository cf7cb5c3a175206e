// Package row is what Go's sides of the rows share, and the frame of memory.*: PROGRAM ROW N prints one JSON object
// of figures, "value" in the row's unit first of all. The same as tests/bench/rows.h and graph.h.
package row

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

type Result map[string]any

// CPUSeconds are of the process, so far.
func CPUSeconds() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		panic(err)
	}
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
}

// Getrusage's begins with what the process had before its exec.
func maxRSS() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, rest, found := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if !found || err != nil {
		panic("/proc/self/status says no VmHWM")
	}
	return kib * 1024
}

func read(name string, kind metrics.ValueKind) metrics.Value {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	if s[0].Value.Kind() != kind {
		panic("this Go has no " + name + " (1.22 or newer is needed)")
	}
	return s[0].Value
}

// Cycles are the complete ones; asking for them stops nothing.
func Cycles() uint64 { return read("/gc/cycles/total:gc-cycles", metrics.KindUint64).Uint64() }

// Classes of CPU time, in seconds, as of the last complete cycle. Go takes the time that a worker was on
// its P, which is more than CPU time where the machine has other work: only shares of it are good.
type Classes struct{ GC, Pauses, User, Scavenge float64 }

func ReadClasses() Classes {
	class := func(name string) float64 {
		return read("/cpu/classes/"+name+":cpu-seconds", metrics.KindFloat64).Float64()
	}
	return Classes{class("gc/total"), class("gc/pause"), class("user"), class("scavenge/total")}
}

// GCShare is the collector's part of what was not idle since before.
func (before Classes) GCShare() float64 {
	now := ReadClasses()
	gc := now.GC - before.GC
	return gc / (gc + now.User - before.User + now.Scavenge - before.Scavenge)
}

// Pauses of the world for collections: each start and each end of marking by itself, from the request
// to the restart. The buckets are a quarter of a power of two wide.
func Pauses() *metrics.Float64Histogram {
	h := *read("/sched/pauses/total/gc:seconds", metrics.KindFloat64Histogram).Float64Histogram()
	h.Counts = append([]uint64(nil), h.Counts...)
	return &h
}

// PausesSince are single ones, in seconds, spread evenly inside their buckets.
func PausesSince(before *metrics.Float64Histogram) []float64 {
	after := Pauses()
	all := []float64{}
	for i := range after.Counts {
		n := after.Counts[i] - before.Counts[i]
		lo, hi := after.Buckets[i], after.Buckets[i+1]
		for k := uint64(0); k < n; k++ {
			all = append(all, lo+(hi-lo)*(float64(k)+0.5)/float64(n))
		}
	}
	return all
}

func Quantile(sorted []float64, q float64) float64 { return sorted[int(float64(len(sorted)-1)*q)] }

func Median(values []float64) float64 {
	sort.Float64s(values)
	return values[len(values)/2]
}

// Random gives the same numbers as random_next() of the C side.
type Random struct{ X uint64 }

func (r *Random) Next() uint64 {
	r.X = r.X*6364136223846793005 + 1442695040888963407
	return r.X >> 33
}

// Vertex is 64 bytes.
type Vertex struct {
	To   [4]*Vertex
	Data [4]uint64
}

func newVertex(number uint64) *Vertex {
	v := new(Vertex)
	v.Data[0] = number
	return v
}

// RandomGraph has n vertices, a power of two. Edge 0 leads through all of them and back.
func RandomGraph(n uint64) *Vertex {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	all := make([]*Vertex, n)
	r := Random{1}
	for i := range all {
		all[i] = newVertex(uint64(i))
	}
	for i := uint64(0); i < n; i++ {
		all[i].To[0] = all[(i*1664525+1013904223)&(n-1)]
		for e := 1; e < len(all[i].To); e++ {
			all[i].To[e] = all[r.Next()&(n-1)]
		}
	}
	return all[0]
}

func tree(depth int, number *uint64) *Vertex {
	v := newVertex(*number)
	*number++
	if depth > 0 {
		v.To[0] = tree(depth-1, number)
		v.To[1] = tree(depth-1, number)
	}
	return v
}

// LocalGraph is a binary tree whose vertices were made in the order of a search from its root.
func LocalGraph(depth int) *Vertex {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	number := uint64(0)
	return tree(depth, &number)
}

// Walk sums the numbers on a way of n edges.
func Walk(v *Vertex, n int) uint64 {
	sum := uint64(0)
	for i := 0; v != nil && i < n; i++ {
		sum += v.Data[0]
		v = v.To[0]
	}
	return sum
}

func Main(rows map[string]func(n int) Result) {
	var row func(n int) Result
	n := 0
	if len(os.Args) == 3 {
		row = rows[os.Args[1]]
		n, _ = strconv.Atoi(os.Args[2])
	}
	if row == nil || n <= 0 {
		fmt.Fprintln(os.Stderr, "usage:", os.Args[0], "ROW N")
		os.Exit(2)
	}
	r := row(n)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r["cpu_s"] = CPUSeconds()
	r["gc_cycles"] = m.NumGC
	r["max_rss"] = maxRSS()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}
